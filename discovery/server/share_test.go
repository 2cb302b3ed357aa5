package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// echo is the other one on a shared port: it sends back what it gets.
func echo(conn net.Conn) {
	go func() {
		_, _ = io.Copy(conn, conn)
		_ = conn.Close()
	}()
}

// stunRequest begins as one.
var stunRequest = []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}

func secured(t *testing.T, raw net.Conn, protocols ...string) net.Conn {
	t.Helper()
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn
}

// sliced sends its first bytes one by one.
type sliced struct {
	net.Conn
	first int
}

func (c *sliced) Write(b []byte) (n int, err error) {
	for n < len(b) && c.first > 0 && err == nil {
		c.first--
		_, err = c.Conn.Write(b[n : n+1])
		n++
	}
	if n == len(b) || err != nil {
		return n, err
	}
	rest, err := c.Conn.Write(b[n:])
	return n + rest, err
}

// Clients of discovery and of TURN share a port, whether these speak TLS or not, and whether
// they say so beforehand.
func TestSharedPort(t *testing.T) {
	inCrowd(t, Config{TLS: testTLS(t), Other: echo}, nil, func(t *testing.T, c *crowd) {
		t.Helper()
		for name, speak := range map[string]func(net.Conn) net.Conn{
			"in the clear":     func(c net.Conn) net.Conn { return c },
			"TLS":              func(c net.Conn) net.Conn { return secured(t, c, "stun.turn") },
			"TLS without ALPN": func(c net.Conn) net.Conn { return secured(t, c) },
			"in pieces":        func(c net.Conn) net.Conn { return &sliced{c, 64} },
			"TLS in pieces":    func(c net.Conn) net.Conn { return secured(t, &sliced{c, 4096}) },
			"pieces in TLS":    func(c net.Conn) net.Conn { return &sliced{secured(t, c), 64} },
		} {
			raw, err := c.open("192.0.2.1")
			if err != nil {
				t.Fatal(err)
			}
			conn := speak(raw)
			_, _ = conn.Write(stunRequest)
			time.Sleep(2 * handshakeTimeout) // that of discovery is for its own
			more := bytes.Repeat([]byte{7}, 2*byteBurst)
			go func() { _, _ = conn.Write(more) }()
			begin, want := time.Now(), append(bytes.Clone(stunRequest), more...)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(begin); took > 0 {
				t.Errorf("%s: the data was held up for %v", name, took)
			}
			_ = conn.Close()
		}
		conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				conn, err := c.open("192.0.2.1")
				return &sliced{conn, 8192}, err
			}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pb.NewClusterClient(conn).Hello(t.Context(), &pb.HelloRequest{ClusterId: "c", ClientVersion: "v"}); err != nil {
			t.Error(err)
		}
		conn.Close()
		synctest.Wait()
		if c.srv.pools.connections.used != 0 {
			t.Errorf("%d connections are counted, and none is open", c.srv.pools.connections.used)
		}
	})
}

// Connections of TURN, from the same address and from all, take nothing of what is for discovery, and
// give nothing back twice.
func TestStreamsLeaveDiscovery(t *testing.T) {
	var kept []net.Conn
	cfg := Config{TLS: testTLS(t), Other: func(conn net.Conn) { kept = append(kept, conn) }}
	inCrowd(t, cfg, func(s *Server) { s.pools.connections = newPool(16) }, func(t *testing.T, c *crowd) {
		t.Helper()
		for i := range 64 {
			conn, err := c.open([]string{"192.0.2.1", fmt.Sprintf("198.51.100.%d", i)}[i%2])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = conn.Write(stunRequest)
			synctest.Wait()
		}
		if len(kept) != 64 {
			t.Errorf("%d connections were given away", len(kept))
		}
		conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return c.open("192.0.2.1") }))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pb.NewClusterClient(conn).Hello(t.Context(), &pb.HelloRequest{ClusterId: "c", ClientVersion: "v"}); err != nil {
			t.Error(err)
		}
		conn.Close()
		for _, conn := range kept {
			_ = conn.Close()
		}
		synctest.Wait()
		if used := c.srv.pools.connections.used; used != 0 {
			t.Errorf("%d connections are counted, and none is open", used)
		}
	})
}

// Connections that do not say what they speak end in time, and are bounded.
func TestSlowOnSharedPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, lis, stop := startInMemory(t, Config{TLS: testTLS(t), Other: func(net.Conn) { t.Error("it was given away") }})
		for name, speak := range map[string]func(net.Conn) net.Conn{
			"nothing":             func(c net.Conn) net.Conn { return c },
			"one byte of TLS":     func(c net.Conn) net.Conn { _, _ = c.Write([]byte{recordHandshake}); return c },
			"TLS and nothing":     func(c net.Conn) net.Conn { return secured(t, c) },
			"HTTP/2 in the clear": func(c net.Conn) net.Conn { _, _ = c.Write([]byte("PRI * HTTP/2.0\r\n")); return c },
			"HTTP without ALPN":   func(c net.Conn) net.Conn { c = secured(t, c); _, _ = c.Write([]byte("PRI *")); return c },
		} {
			raw, err := lis.Dial()
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			conn := speak(raw)
			if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%s: an answer", name)
			}
			if took := time.Since(begin); took > handshakeTimeout {
				t.Errorf("%s: open for %v", name, took)
			}
			_ = conn.Close()
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// The deadlines of a connection that was given away are those of who has it.
func TestDeadlinesOnSharedPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 3)
		_, lis, stop := startInMemory(t, Config{TLS: testTLS(t), Other: func(conn net.Conn) {
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute)) // before grpc clears its own
			go func() {
				_, err := io.Copy(io.Discard, conn)
				_ = conn.Close()
				ended <- err
			}()
		}})
		for _, protocols := range [][]string{nil, {"stun.turn"}} {
			raw, err := lis.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			begin, conn := time.Now(), raw
			if protocols != nil {
				conn = secured(t, raw, protocols...)
			}
			_, _ = conn.Write(stunRequest)
			timeout := net.Error(nil)
			if err := <-ended; !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(begin) != time.Minute {
				t.Errorf("it ended after %v: %v", time.Since(begin), err)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzSharedPort(f *testing.F) {
	for _, b := range [][]byte{stunRequest, {recordHandshake, 3, 1, 0, 1, 1}, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), {0x40, 0, 0, 0}, {1}, {}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		given := false
		s := newSharing(&tls.Config{Certificates: []tls.Certificate{{}}}, func(conn net.Conn) {
			given = true
			got := make([]byte, len(b))
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%x became %x, %v", b, got, err)
			}
		})
		client, raw := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, client) }() // alerts
		go func() { _, _ = client.Write(b); _ = client.Close() }()
		_, _, err := s.ServerHandshake(raw)
		_ = raw.Close()
		if given != (len(b) > 0 && b[0] <= 1) || given != errors.Is(err, credentials.ErrConnDispatched) || err == nil {
			t.Errorf("%x: given away %v, %v", b, given, err)
		}
	})
}

// BenchmarkConnect is a new connection with its first answer, without and with a shared port.
func BenchmarkConnect(b *testing.B) {
	for name, other := range map[string]func(net.Conn){"own": nil, "shared": echo} {
		b.Run(name, func(b *testing.B) {
			cert, _, err := MemoryCertificate(time.Now())
			if err != nil {
				b.Fatal(err)
			}
			r := start(b, Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Other: other, TrustXRealIP: true}) // no rate limit
			for b.Loop() {
				raw, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", r.addr)
				if err != nil {
					b.Fatal(err)
				}
				conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
				if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(make([]byte, 9)); err != nil { // its SETTINGS
					b.Fatal(err)
				}
				_ = conn.Close()
			}
		})
	}
}
