package turn

import (
	"encoding/binary"
	"errors"
	"io"
)

var errFrame = errors.New("neither a TURN message nor channel data in the stream")

// Frame returns the size of the frame with which a part of a stream begins, padding included; 0
// if too little of it is there to say. What is no frame, or is larger than MaxMessage, is an
// error: the stream can't be read any further.
func Frame(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	message := b[0]>>6 == 0
	if !message && b[0]>>6 != MinChannel>>14 {
		return 0, errFrame
	}
	if len(b) < ChannelHeader {
		return 0, nil
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if message {
		if size%4 != 0 || len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) != magicCookie {
			return 0, errFrame
		}
		size += headerSize
	} else {
		size = ChannelHeader + (size+3)&^3
	}
	if size > MaxMessage {
		return 0, errFrame
	}
	if message && len(b) < 8 {
		return 0, nil
	}
	return size, nil
}

// FrameReader cuts a stream into frames. Use NewFrameReader.
type FrameReader struct {
	r          io.Reader
	buf        []byte
	start, end int
}

// maxRecord is what one read of TLS returns at most.
const maxRecord = 16 << 10

// NewFrameReader returns a reader of the frames of a stream.
func NewFrameReader(r io.Reader) *FrameReader {
	return &FrameReader{r: r, buf: make([]byte, maxRecord+MaxMessage)}
}

// Ready reports whether Next returns at once.
func (f *FrameReader) Ready() bool {
	size, err := Frame(f.buf[f.start:f.end])
	return err != nil || size > 0 && size <= f.end-f.start
}

// Next returns the next frame, padding included. It is valid until the next call.
func (f *FrameReader) Next() ([]byte, error) {
	for {
		have := f.buf[f.start:f.end]
		size, err := Frame(have)
		if err != nil {
			return nil, err
		}
		if size > 0 && size <= len(have) {
			f.start += size
			return have[:size], nil
		}
		if f.start > 0 {
			f.end = copy(f.buf, have)
			f.start = 0
		}
		n, err := f.r.Read(f.buf[f.end:])
		f.end += n
		if n == 0 && err != nil {
			if err == io.EOF && f.end > f.start { //nolint:errorlint // io.Reader returns io.EOF itself
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}
