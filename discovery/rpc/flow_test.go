package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

// Requests and answers of all sizes go through windows of all sizes, several at a time.
func TestWindowsOfGRPC(t *testing.T) {
	for _, window := range []int32{65_535, 70_001, 1 << 20} {
		for _, connection := range []int32{65_535, 99_999} {
			t.Run(fmt.Sprint(window, " ", connection), func(t *testing.T) {
				grpcServer(t, false, Config{}, func(t *testing.T, c *Conn) {
					var calls sync.WaitGroup
					for i := range 3 {
						calls.Go(func() { roundTrips(t, c, uint64(i)) })
					}
					calls.Wait()
				}, grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(connection))
			})
		}
	}
}

// roundTrips has requests of all sizes echoed.
func roundTrips(t *testing.T, c *Conn, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	for _, size := range []int{0, 1, 16<<10 - 20, 16 << 10, 65_530, 65_535, 70_000, 300_000} {
		text := fmt.Sprintf("%0*d", size, r.Uint64())
		b, err := c.Call(t.Context(), methods+"Hello", encode(t, &pb.HelloRequest{ClientVersion: text}), 2<<20)
		if want := encode(t, &pb.HelloResponse{ClientIp: []byte(text)}); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%d bytes: %d came back, %v", size, len(b), err)
		}
	}
}

// The peer's windows shrink and grow by settings while a request is sent, down to less
// than nothing.
func TestWindowsBySettings(t *testing.T) {
	const size = 300_000
	got := 0
	against(t, 0, func(s *script) {
		_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		for _, window := range []uint32{10, 0, 70_000, 5, 100_000} { // some of them below what is sent
			synctest.Wait()
			_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		}
		_ = s.WriteWindowUpdate(0, size)
		for s.stream == 0 {
			_ = s.next()
		}
		_ = s.WriteWindowUpdate(s.stream, 1)
		_ = s.WriteWindowUpdate(s.stream, size)
		for !s.ended {
			if s.next() != nil {
				return
			}
		}
		got = s.received
		s.finish()
	}, func(t *testing.T, c *Conn) {
		b, err := c.Call(t.Context(), "/s/m", make([]byte, size), 10)
		if err != nil || string(b) != "one" {
			t.Errorf("%q, %v", b, err)
		}
	})
	if got != size+prefixSize {
		t.Errorf("the server has got %d bytes", got)
	}
}

// An answer that is there before the whole request ends the request.
func TestEarlyAnswer(t *testing.T) {
	var got *script
	against(t, 0, func(s *script) {
		got = s
		_ = s.WriteSettings()
		for s.stream == 0 {
			_ = s.next()
		}
		s.finish()
	}, func(t *testing.T, c *Conn) {
		b, err := c.Call(t.Context(), "/s/m", make([]byte, 1<<20), 10)
		if err != nil || string(b) != "one" {
			t.Errorf("%q, %v", b, err)
		}
		synctest.Wait()
	})
	if fmt.Sprint(got.told) != "[RST_STREAM CANCEL]" || got.received > defaultWindow {
		t.Errorf("the server was told %q and got %d bytes", got.told, got.received)
	}
}

// What is received and not read, and what is dropped with its stream, counts for the
// window of the connection: many streams together get no more, and none blocks the next.
func TestConnectionWindow(t *testing.T) {
	grpcServer(t, true, Config{}, func(t *testing.T, c *Conn) {
		request := encode(t, &pb.ListRequest{ClusterId: "0123456789012345678901234567890123456789" + string(make([]byte, 160))})
		for range 3 {
			var streams []*Stream
			for range 10 { // 1.2 MB each
				s, err := c.Open(t.Context(), methods+"Watch", request)
				if err != nil {
					t.Fatal(err)
				}
				streams = append(streams, s)
			}
			synctest.Wait()
			held := 0
			c.mu.Lock()
			for _, s := range streams {
				held += s.in.size
				if s.in.size > streamBuffer {
					t.Errorf("%d bytes of a stream", s.in.size)
				}
			}
			c.mu.Unlock()
			if held > connectionBuffer || held < connectionBuffer*3/4 {
				t.Errorf("%d bytes of all streams", held)
			}
			for _, s := range streams {
				s.Close()
			}
			synctest.Wait()
			s, err := c.Open(t.Context(), methods+"Watch", request)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if b, err := s.Receive(1 << 20); err != nil || len(b) < 400_000 {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			}
			s.Close()
		}
	})
}

// The server of net/http takes no more than the window that it sets, from the first byte.
func TestServerOfNet(t *testing.T) {
	message := append([]byte{0, 0, 0x10, 0, 0}, make([]byte, 1<<20)...)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		w.Header().Set("Content-Type", "application/grpc")
		for range 3 {
			_, _ = w.Write(message)
		}
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Grpc-Message", fmt.Sprint(n))
	})
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 16)
		server := &http.Server{
			Handler: handler, Protocols: new(http.Protocols),
			HTTP2: &http.HTTP2Config{MaxReadFrameSize: 1 << 20, MaxReceiveBufferPerStream: 1 << 14, MaxReceiveBufferPerConnection: 1 << 16, MaxConcurrentStreams: 2},
		}
		server.Protocols.SetUnencryptedHTTP2(true)
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(l) })
		c, err := Dial(t.Context(), Config{Address: "a:1", Timeout: time.Second, Dial: func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }})
		if err != nil {
			t.Fatal(err)
		}
		var calls sync.WaitGroup
		for range 10 {
			calls.Go(func() {
				s, err := c.Open(t.Context(), "/s/m", make([]byte, 500_000))
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				for range 3 {
					if b, err := s.Receive(1 << 20); err != nil || len(b) != 1<<20 {
						t.Errorf("%d bytes, %v", len(b), err)
					}
				}
				var status *Error
				if _, err := s.Receive(1); !errors.As(err, &status) || status.Code != 5 || status.Message != "500005" {
					t.Errorf("at the end: %v", err)
				}
			})
		}
		calls.Wait()
		_ = c.Close()
		_ = server.Close()
		serving.Wait()
	})
}
