package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// errClosed is why a stream ends that its user closes.
var errClosed = errors.New("the stream was closed")

// Stream is the answer to a call, one message after another.
type Stream struct {
	ctx   context.Context
	stop  func() bool // no longer watch ctx
	start [prefixSize]byte
	buf   []byte

	conn  *Conn
	id    uint32
	ready chan struct{} // there is something new for the user

	// The lock of the connection guards what follows.
	open          bool    // in the connection's table
	sent          bool    // the whole request is queued
	head, trailer *header // of the answer
	interim       int     // headers before
	err           error   // at the end of in: io.EOF, or why the stream broke
	in            buffer
	sendWindow    int64
	receiveWindow int
	consumed      int // what the server is not told yet that it may send again
}

// open starts a stream with a header and the beginning of its body, and returns the rest
// of that. It waits while the server takes no more streams.
func (c *Conn) open(ctx context.Context, h request, body []byte) (*Stream, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	for c.refuses() == nil && (uint64(len(c.streams)) >= uint64(c.maximum) || len(c.out) >= outBuffer) {
		if err := c.wait(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := c.refuses(); err != nil {
		return nil, nil, err
	}
	block := c.encode(h)
	if len(block) > maxFrame {
		return nil, nil, errors.New("the name of the server or of the method is too long")
	}
	s := &Stream{
		ctx: ctx, conn: c, id: c.following, ready: make(chan struct{}, 1), open: true,
		sendWindow: c.initialWindow, receiveWindow: streamBuffer,
	}
	c.following += 2
	c.streams[s.id] = s
	c.out = append(appendFrame(c.out, frame{len(block), headersFrame, endHeaders, s.id}), block...)
	c.flush()
	rest := c.push(s, body)
	s.stop = context.AfterFunc(ctx, func() { s.cancel(ctx.Err()) })
	return s, rest, nil
}

// refuses returns why there can be no more streams. c.mu is held.
func (c *Conn) refuses() error {
	switch {
	case c.err != nil:
		return c.err
	case c.away != nil:
		return c.away
	case c.following > maxWindow:
		return errors.New("the connection has had all its streams")
	}
	return nil
}

// send sends the rest of a request, unless the server ends the stream before.
func (s *Stream) send(body []byte) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.open && !s.sent {
		if body = c.push(s, body); len(body) > 0 {
			if err := c.wait(s.ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// begun waits for the header of the answer.
func (s *Stream) begun() (*header, error) {
	for {
		s.conn.mu.Lock()
		head, err := s.head, s.err
		s.conn.mu.Unlock()
		switch {
		case head != nil:
			return head, nil
		case err != nil:
			return nil, err
		}
		if err := s.wait(); err != nil {
			return nil, err
		}
	}
}

// wait waits until there is something new.
func (s *Stream) wait() error {
	select {
	case <-s.ready:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// fill reads until p is full. Like io.ReadFull it returns io.EOF only if there is nothing.
func (s *Stream) fill(p []byte) error {
	for have := 0; have < len(p); {
		n, err := s.read(p[have:])
		if have += n; errors.Is(err, io.EOF) && have > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads what is there, and waits for at least one byte.
func (s *Stream) read(p []byte) (int, error) {
	for {
		c := s.conn
		c.mu.Lock()
		n, err := s.in.take(p), s.err
		if n > 0 {
			c.used(s, n)
		}
		c.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case err != nil:
			return 0, err
		}
		if err := s.wait(); err != nil {
			return 0, err
		}
	}
}

// notify tells the user that there is something new.
func (s *Stream) notify() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Close ends the stream.
func (s *Stream) Close() {
	s.stop()
	s.cancel(errClosed)
}

// cancel ends a stream from this side, and drops what is not read.
func (s *Stream) cancel(err error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(s, cancelled, err)
	s.err = err
	c.usedConnection(s.in.size)
	s.in.drop()
}

// reset tells the server that a stream has ended, unless it has. c.mu is held.
func (c *Conn) reset(s *Stream, code errorCode, err error) {
	if s.open {
		c.out = appendWord(c.out, resetFrame, s.id, uint32(code))
		c.flush()
	}
	c.remove(s, err)
}

// remove ends a stream, which has err after what is received already. c.mu is held.
func (c *Conn) remove(s *Stream, err error) {
	if s.open {
		s.open, s.err = false, err
		delete(c.streams, s.id)
		c.broadcast()
		s.notify()
	}
}

// finish ends a stream whose answer is whole. c.mu is held.
func (c *Conn) finish(s *Stream) {
	if !s.sent {
		c.reset(s, cancelled, io.EOF) // the rest of the request is of no use
		return
	}
	c.remove(s, io.EOF)
}

// resetError is how a server breaks a stream.
type resetError errorCode

func (e resetError) Error() string {
	return fmt.Sprintf("the server reset the stream: %v", errorCode(e))
}
