package rpc

const (
	returnAt = 4 // which part of a window is given back to the server at once

	// So much of a request is sent before the server's settings are there. HTTP/2 allows
	// more, but not all servers take more than the window that they set.
	earlyWindow = 4 << 10
)

// used gives back the windows for n bytes that the stream's reader has taken. c.mu is held.
func (c *Conn) used(s *Stream, n int) {
	if s.consumed += n; s.open && s.consumed >= streamBuffer/returnAt {
		c.out = appendWord(c.out, windowFrame, s.id, uint32(s.consumed))
		s.receiveWindow += s.consumed
		s.consumed = 0
		c.flush()
	}
	c.usedConnection(n)
}

// usedConnection gives back the connection's window for n bytes. c.mu is held.
func (c *Conn) usedConnection(n int) {
	if c.consumed += n; c.consumed >= connectionBuffer/returnAt && c.err == nil {
		c.out = appendWord(c.out, windowFrame, 0, uint32(c.consumed))
		c.receiveWindow += c.consumed
		c.consumed = 0
		c.flush()
	}
}

// charge takes a DATA frame from the windows that the server has. c.mu is held.
func (c *Conn) charge(s *Stream, n int) error {
	if n > c.receiveWindow || s != nil && n > s.receiveWindow {
		return &violation{flowControlError, 0, "more than its window"}
	}
	c.receiveWindow -= n
	if s != nil {
		s.receiveWindow -= n
	}
	return nil
}

// grow adds to the window of the connection or, unless s is nil, of a stream. c.mu is held.
func (c *Conn) grow(s *Stream, n int64) error {
	window, id := &c.sendWindow, uint32(0)
	if s != nil {
		window, id = &s.sendWindow, s.id
	}
	if n == 0 {
		return &violation{protocolError, id, "an empty window update"}
	}
	if *window+n > maxWindow {
		return &violation{flowControlError, id, "a window that is too large"}
	}
	*window += n
	c.broadcast()
	return nil
}

// setInitialWindow changes the windows of all streams as the server's settings say (RFC
// 9113 §6.9.2). They may get negative. c.mu is held.
func (c *Conn) setInitialWindow(n int64) error {
	if n > maxWindow {
		return &violation{flowControlError, 0, "settings with a window that is too large"}
	}
	for _, s := range c.streams {
		if s.sendWindow+n-c.initialWindow > maxWindow {
			return &violation{flowControlError, 0, "settings that make a window too large"}
		}
		s.sendWindow += n - c.initialWindow
	}
	c.initialWindow = n
	return nil
}

// push queues as much of a request as windows and buffer have room for, and returns the
// rest. c.mu is held.
func (c *Conn) push(s *Stream, body []byte) []byte {
	for len(body) > 0 && len(c.out) < outBuffer {
		n := int(min(int64(len(body)), s.sendWindow, c.sendWindow, maxFrame))
		if n <= 0 {
			break
		}
		f := frame{n, dataFrame, 0, s.id}
		if n == len(body) {
			f.flags, s.sent = endStream, true
		}
		c.out = append(appendFrame(c.out, f), body[:n]...)
		body = body[n:]
		s.sendWindow -= int64(n)
		c.sendWindow -= int64(n)
		c.flush()
	}
	return body
}
