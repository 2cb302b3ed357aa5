package rpc

import "encoding/binary"

// control does what a frame with a short payload says.
func (r *reader) control(f frame, b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch f.kind {
	case settingsFrame:
		return r.settings(f, b)
	case pingFrame:
		return r.pinged(f, b)
	case goAwayFrame:
		return r.goesAway(f, b)
	}
	if len(b) != 4 {
		return errSize
	}
	word := binary.BigEndian.Uint32(b)
	if f.kind == windowFrame && f.stream == 0 {
		return r.grow(nil, int64(word&maxWindow))
	}
	s, err := r.lookup(f.stream)
	switch {
	case err != nil:
		return err
	case s == nil:
		return r.carriesNothing()
	case f.kind == windowFrame:
		return r.grow(s, int64(word&maxWindow))
	}
	r.remove(s, resetError(word))
	return nil
}

var (
	errSize   = &violation{frameSizeError, 0, "a frame that is too long or too short"}
	errStream = &violation{protocolError, 0, "a frame for the wrong stream"}
)

// maxStreams is how many streams there may be at a time if a server does not say.
const maxStreams = 100

// settings takes the settings of the server. r.mu is held.
func (r *reader) settings(f frame, b []byte) error {
	switch {
	case f.stream != 0:
		return errStream
	case len(b)%6 != 0 || f.has(ack) && len(b) > 0:
		return errSize
	}
	if err := r.carriesNothing(); err != nil || f.has(ack) {
		return err
	}
	if !r.settled {
		r.settled = true
		r.maximum = maxStreams // unless they say otherwise, as for the window
		_ = r.setInitialWindow(defaultWindow)
	}
	for ; len(b) > 0; b = b[6:] {
		if err := r.setting(binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:])); err != nil {
			return err
		}
	}
	r.broadcast()
	return r.answer(appendFrame(nil, frame{0, settingsFrame, ack, 0}))
}

// setting takes one setting. r.mu is held.
func (r *reader) setting(id uint16, value uint32) error {
	switch {
	case id == settingTableSize:
		r.encoder.SetMaxDynamicTableSizeLimit(min(value, tableSize))
		r.encoder.SetMaxDynamicTableSize(min(value, tableSize))
	case id == settingStreams:
		r.maximum = value
	case id == settingWindow:
		return r.setInitialWindow(int64(value))
	case id == settingPush && value != 0, id == settingFrameSize && (value < maxFrame || value >= 1<<24):
		return &violation{protocolError, 0, "invalid settings"}
	}
	return nil
}

// pinged takes a ping, or the answer to one. r.mu is held.
func (r *reader) pinged(f frame, b []byte) error {
	switch {
	case f.stream != 0:
		return errStream
	case len(b) != 8:
		return errSize
	}
	if err := r.carriesNothing(); err != nil {
		return err
	}
	if f.has(ack) {
		r.answered([8]byte(b))
		return nil
	}
	return r.answer(appendPing(nil, ack, [8]byte(b)))
}

// goesAway ends streams that the server will not answer any more. r.mu is held.
func (r *reader) goesAway(f frame, b []byte) error {
	switch {
	case f.stream != 0:
		return errStream
	case len(b) < 8:
		return errSize
	}
	if err := r.carriesNothing(); err != nil {
		return err
	}
	last := binary.BigEndian.Uint32(b) & maxWindow
	r.away = &goAway{errorCode(binary.BigEndian.Uint32(b[4:])), string(b[8:min(len(b), 8+200)])}
	for id, s := range r.streams {
		if id > last {
			r.remove(s, r.away)
		}
	}
	r.broadcast()
	return nil
}
