package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

const (
	userAgent = "grpc-go-wirespan/1"

	prefixSize = 5 // of a message: one byte of flags and its length

	// A longer buffer is not kept for the next message of a stream. One is not made longer
	// than this at once, either: the length is what the server says.
	keptBuffer = 64 << 10
)

// Call calls a method, "/SERVICE/METHOD", that has one answer of at most limit bytes.
func (c *Conn) Call(ctx context.Context, method string, request []byte, limit int) ([]byte, error) {
	s, err := c.Open(ctx, method, request)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	answer, err := s.Receive(limit)
	if errors.Is(err, io.EOF) {
		return nil, &Error{Code: Internal, Message: "the server sent no answer"}
	}
	if err != nil {
		return nil, err
	}
	// The status comes after the answer.
	if _, err = s.prefix(); errors.Is(err, io.EOF) {
		return answer, nil
	}
	if err == nil {
		err = &Error{Code: Internal, Message: "the server sent more than one answer"}
	}
	return nil, err
}

// Open calls a method whose answer is a stream. It returns when the server has sent the
// header of its answer.
func (c *Conn) Open(ctx context.Context, method string, message []byte) (*Stream, error) {
	h := request{method: method}
	if deadline, ok := ctx.Deadline(); ok {
		h.timeout = timeout(time.Until(deadline))
	}
	body := make([]byte, prefixSize, prefixSize+len(message))
	binary.BigEndian.PutUint32(body[1:], uint32(len(message)))
	s, rest, err := c.open(ctx, h, append(body, message...))
	if err != nil {
		return nil, failure(ctx, err)
	}
	if err := s.send(rest); err != nil {
		s.Close()
		return nil, failure(ctx, err)
	}
	head, err := s.begun()
	if err != nil {
		s.Close()
		return nil, failure(ctx, err)
	}
	if err := checkStart(head); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// timeout renders a duration for the header grpc-timeout, which has at most 8 digits.
func timeout(d time.Duration) string {
	ms := (d + time.Millisecond - 1) / time.Millisecond
	return strconv.FormatInt(min(max(int64(ms), 1), 99_999_999), 10) + "m"
}

// Receive returns the next message, of at most limit bytes. It is valid until the next
// call. The error is io.EOF if the server has ended the stream with the status OK.
func (s *Stream) Receive(limit int) ([]byte, error) {
	if cap(s.buf) > keptBuffer {
		s.buf = nil
	}
	size, err := s.prefix()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &Error{Code: ResourceExhausted, Message: fmt.Sprintf("a message has %d bytes, the limit is %d", size, limit)}
	}
	s.buf = s.buf[:0]
	for len(s.buf) < size {
		have := len(s.buf)
		s.buf = append(s.buf, make([]byte, min(size-have, max(keptBuffer, have)))...)
		if err := s.fill(s.buf[have:]); err != nil {
			return nil, s.broken(err)
		}
	}
	return s.buf, nil
}

// prefix reads the prefix of a message and returns the message's length. At the end of the
// stream the error is its status, or io.EOF for OK.
func (s *Stream) prefix() (size int, err error) {
	if err := s.fill(s.start[:]); errors.Is(err, io.EOF) {
		if err := s.status(); err != nil {
			return 0, err
		}
		return 0, io.EOF
	} else if err != nil {
		return 0, s.broken(err)
	}
	if s.start[0] != 0 {
		return 0, &Error{Code: Internal, Message: "the server sent a compressed message, which it was not asked for"}
	}
	return int(min(binary.BigEndian.Uint32(s.start[1:]), 1<<31-1)), nil
}

// status returns the status at the end, nil for OK. An answer that is nothing but a status
// has it in its header.
func (s *Stream) status() error {
	s.conn.mu.Lock()
	last := s.head
	if s.trailer != nil && !s.head.hasStatus {
		last = s.trailer
	}
	s.conn.mu.Unlock()
	return last.grpc()
}

// broken returns the error of a message that is not whole. A server may give up in the
// midst of one, and say why.
func (s *Stream) broken(err error) error {
	if s.ctx.Err() == nil && errors.Is(err, io.ErrUnexpectedEOF) {
		if status := s.status(); status != nil && s.trailer != nil && s.trailer.status != "" {
			return status
		}
	}
	return failure(s.ctx, err)
}
