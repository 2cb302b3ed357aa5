package rpc

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	// A server may send so many frames in calmPeriod that carry nothing: pings, settings,
	// empty data, resets of streams that have ended, and what is not known. It may send
	// idlePerFrame more with each frame of an answer.
	maxIdleFrames = 1000
	idlePerFrame  = 4
	calmPeriod    = 10 * time.Second
)

// reader reads the frames of a connection.
type reader struct {
	*Conn
	in      *bufio.Reader
	decoder *hpack.Decoder
	small   [64]byte
	settled bool      // the first settings are there
	idle    int       // frames that carry nothing
	since   time.Time // when they were counted from zero
}

// run reads frames until there is an error.
func (r *reader) run() error {
	f, err := r.next()
	if err == nil && (f.kind != settingsFrame || f.has(ack)) {
		err = &violation{protocolError, 0, "no settings first"}
	}
	for err == nil {
		if err = r.endStream(r.frame(f)); err == nil {
			f, err = r.next()
		}
	}
	return err
}

// endStream ends the stream on which the server did something wrong. It returns errors
// that are not about one stream.
func (r *reader) endStream(err error) error {
	var v *violation
	if !errors.As(err, &v) || v.stream == 0 {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[v.stream]; s != nil {
		r.reset(s, v.code, v)
	}
	return nil
}

// next reads the header of a frame.
func (r *reader) next() (frame, error) {
	b := r.small[:frameHeaderSize]
	if _, err := io.ReadFull(r.in, b); err != nil {
		return frame{}, err
	}
	r.alive.received()
	f := parseFrame(b)
	if strings.HasPrefix(string(b), "HTTP/1.") {
		return f, &violation{protocolError, 0, "an answer in HTTP/1.1, not HTTP/2"}
	}
	if f.size > maxFrame {
		return f, &violation{frameSizeError, 0, "a frame that is too long"}
	}
	return f, nil
}

// frame reads the payload of a frame and does what it says.
func (r *reader) frame(f frame) error {
	switch f.kind {
	case dataFrame:
		return r.data(f)
	case headersFrame:
		return r.headers(f)
	case pushFrame, continuationFrame:
		return &violation{protocolError, 0, "a frame that is not allowed here"}
	case resetFrame, settingsFrame, pingFrame, goAwayFrame, windowFrame:
		b, err := r.payload(f)
		if err != nil {
			return err
		}
		return r.control(f, b)
	}
	if err := r.carriesNothing(); err != nil {
		return err
	}
	_, err := r.in.Discard(f.size)
	return err
}

// payload reads a payload. It is valid until the next call.
func (r *reader) payload(f frame) ([]byte, error) {
	b := r.small[:]
	if f.size > len(b) {
		b = make([]byte, f.size)
	}
	_, err := io.ReadFull(r.in, b[:f.size])
	return b[:f.size], err
}

// carriesNothing counts a frame that carries nothing.
func (r *reader) carriesNothing() error {
	if now := time.Now(); now.Sub(r.since) > calmPeriod {
		r.since, r.idle = now, 0
	}
	if r.idle++; r.idle > maxIdleFrames {
		return &violation{enhanceYourCalm, 0, "too many frames that carry nothing"}
	}
	return nil
}

// carriesAnswer counts a frame that is of use.
func (r *reader) carriesAnswer() { r.idle = max(0, r.idle-idlePerFrame) }

// lookup returns a stream, or nil if it has ended. r.mu is held.
func (r *reader) lookup(id uint32) (*Stream, error) {
	if id%2 == 0 || id >= r.following {
		return nil, &violation{protocolError, 0, "a frame for a stream that was never opened"}
	}
	return r.streams[id], nil
}

// padding reads the length of a frame's padding, and skips what else comes before the
// content. It returns the length of the content.
func (r *reader) padding(f frame, skip int) (content, pad int, err error) {
	content = f.size - skip
	if f.has(padded) {
		if content--; content < 0 { // the length itself is part of the frame
			return 0, 0, &violation{frameSizeError, 0, "a frame that is too short"}
		}
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, 0, err
		}
		pad = int(b)
		content -= pad
	}
	if content < 0 {
		return 0, 0, &violation{protocolError, 0, "a frame that is shorter than its padding"}
	}
	_, err = r.in.Discard(skip)
	return content, pad, err
}
