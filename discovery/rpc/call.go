package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// Stream is the answer to a call, one message after another.
type Stream struct {
	ctx    context.Context
	answer *http.Response
	start  [prefixSize]byte
	buf    []byte
}

// Open calls a method whose answer is a stream. It returns when the server has sent the
// header of its answer.
func (c *Conn) Open(ctx context.Context, method string, request []byte) (*Stream, error) {
	header := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {userAgent}}
	if deadline, ok := ctx.Deadline(); ok {
		header["Grpc-Timeout"] = []string{timeout(time.Until(deadline))}
	}
	body := make([]byte, prefixSize, prefixSize+len(request))
	binary.BigEndian.PutUint32(body[1:], uint32(len(request)))
	body = append(body, request...)
	answer, err := c.transport.RoundTrip((&http.Request{
		Method:        http.MethodPost,
		URL:           &url.URL{Scheme: c.scheme, Host: c.address, Path: method},
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
	}).WithContext(ctx))
	if err != nil {
		return nil, failure(ctx, err)
	}
	s := &Stream{ctx: ctx, answer: answer}
	if err := checkStart(answer); err != nil {
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
		if _, err := io.ReadFull(s.answer.Body, s.buf[have:]); err != nil {
			return nil, s.broken(err)
		}
	}
	return s.buf, nil
}

// prefix reads the prefix of a message and returns the message's length. At the end of the
// stream the error is its status, or io.EOF for OK.
func (s *Stream) prefix() (size int, err error) {
	if _, err := io.ReadFull(s.answer.Body, s.start[:]); errors.Is(err, io.EOF) {
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

// status returns the status at the end.
func (s *Stream) status() error {
	if _, only := s.answer.Header["Grpc-Status"]; only {
		return status(s.answer.Header)
	}
	return status(s.answer.Trailer)
}

// broken returns the error of a message that is not whole. A server may give up in the
// midst of one, and say why.
func (s *Stream) broken(err error) error {
	if s.ctx.Err() == nil && s.answer.Trailer.Get("Grpc-Status") != "" {
		if err := status(s.answer.Trailer); err != nil {
			return err
		}
	}
	return failure(s.ctx, err)
}

// Close ends the stream.
func (s *Stream) Close() { _ = s.answer.Body.Close() }
