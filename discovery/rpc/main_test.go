package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is the server's part of a connection in memory, frame by frame.
type script struct {
	*http2.Framer
	conn    net.Conn
	stream  uint32                  // of the request
	request *http.Header            // its header
	body    []byte                  // its body
	frames  map[http2.FrameType]int // received since the request
	told    []string                // what the client says is wrong

	received int  // bytes of the body since then
	ended    bool // the body
}

// scripted runs body in virtual time with a connection whose server answers the first
// request with play, and then reads on until the client has gone.
func scripted(t *testing.T, ping time.Duration, play func(*script), body func(*testing.T, *Conn)) {
	t.Helper()
	against(t, ping, func(s *script) {
		if s.WriteSettings() == nil && s.receive() == nil {
			play(s)
		}
	}, body)
}

// against does the same with a server that has said nothing yet.
func against(t *testing.T, ping time.Duration, play func(*script), body func(*testing.T, *Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 16)
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			s := &script{Framer: http2.NewFramer(conn, conn), conn: conn, frames: map[http2.FrameType]int{}}
			s.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
				return
			}
			play(s)
			for s.next() == nil {
			}
		}()
		c, err := Dial(t.Context(), Config{Address: "a:1", Timeout: time.Second, Ping: ping, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return l.DialContext(ctx)
		}})
		if err != nil {
			t.Fatal(err)
		}
		body(t, c)
		_ = c.Close()
		_ = l.Close()
		<-done
	})
}

// receive reads until the first request is there.
func (s *script) receive() error {
	for {
		f, err := s.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			s.stream = f.StreamID
			h := http.Header{}
			for _, field := range f.Fields {
				h.Add(field.Name, field.Value)
			}
			s.request = &h
		case *http2.DataFrame:
			s.body = append(s.body, f.Data()...)
			if f.StreamEnded() {
				return nil
			}
		}
	}
}

// next reads one more frame.
func (s *script) next() error {
	f, err := s.ReadFrame()
	if err != nil {
		return err
	}
	s.frames[f.Header().Type]++
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		s.stream = f.StreamID
	case *http2.DataFrame:
		s.received += len(f.Data())
		s.ended = f.StreamEnded()
	case *http2.RSTStreamFrame:
		s.told = append(s.told, "RST_STREAM "+f.ErrCode.String())
	case *http2.GoAwayFrame:
		s.told = append(s.told, "GOAWAY "+f.ErrCode.String())
	}
	return nil
}

// block encodes a header, given as names and values.
func (*script) block(fields ...string) []byte {
	var b strings.Builder
	enc := hpack.NewEncoder(&b)
	enc.SetMaxDynamicTableSize(0)
	for i := 0; i+1 < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return []byte(b.String())
}

// parts sends a header in frames of at most size bytes.
func (s *script) parts(block []byte, size int) {
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: s.stream, BlockFragment: block[:size]})
	for block = block[size:]; len(block) > size; block = block[size:] {
		_ = s.WriteContinuation(s.stream, false, block[:size])
	}
	_ = s.WriteContinuation(s.stream, true, block)
}

// header sends a header or trailer.
func (s *script) header(end bool, fields ...string) {
	block := s.block(fields...)
	first := block[:min(len(block), 16<<10)]
	block = block[len(first):]
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: s.stream, BlockFragment: first, EndHeaders: len(block) == 0, EndStream: end})
	for len(block) > 0 {
		part := block[:min(len(block), 16<<10)]
		block = block[len(part):]
		_ = s.WriteContinuation(s.stream, len(block) == 0, part)
	}
}

// raw sends a frame that the framer of x/net would refuse to write.
func (s *script) raw(kind, flags byte, stream uint32, payload string) {
	s.repeat(1, kind, flags, stream, payload)
}

// repeat sends a frame n times, or until the client has gone. It reads meanwhile.
func (s *script) repeat(n int, kind, flags byte, stream uint32, payload string) {
	b := append(appendFrame(nil, frame{len(payload), kind, flags, stream}), payload...)
	for many := bytes.Repeat(b, min(n, 100)); n > 0; n -= 100 {
		if _, err := s.conn.Write(many); err != nil {
			return
		}
	}
}

func (s *script) begin() { s.header(false, ":status", "200", "content-type", "application/grpc") }

func (s *script) data(b string) { _ = s.WriteData(s.stream, false, []byte(b)) }

func (s *script) end() { s.header(true, "grpc-status", "0") }

// codeOf returns the code of an error.
func codeOf(err error) Code {
	var e *Error
	if !errors.As(err, &e) {
		return OK
	}
	return e.Code
}

// memory is a connection that has received what a server sends, and takes everything.
type memory struct {
	net.Conn
	in []byte
}

func (m *memory) Read(b []byte) (int, error) {
	if len(m.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, m.in)
	m.in = m.in[n:]
	return n, nil
}

func (*memory) Write(b []byte) (int, error)      { return len(b), nil }
func (*memory) Close() error                     { return nil }
func (*memory) SetWriteDeadline(time.Time) error { return nil }
