package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestConfig(t *testing.T) {
	network := fakeNetwork{}
	for name, c := range map[string]Config{
		"no network":       {},
		"user alone":       {Network: network, User: "u"},
		"password alone":   {Network: network, Password: "p"},
		"colon in user":    {Network: network, User: "u:v", Password: "p"},
		"long password":    {Network: network, User: "u", Password: strings.Repeat("p", 256)},
		"negative limit":   {Network: network, Limits: Limits{Connections: -1}},
		"negative timeout": {Network: network, Limits: Limits{Dial: -1}},
		"small header":     {Network: network, Limits: Limits{HeaderBytes: 10}},
		"large header":     {Network: network, Limits: Limits{HeaderBytes: 1 << 30}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if l, err := (Limits{Idle: -1}).withDefaults(); err != nil || l.Idle != 0 {
		t.Errorf("a negative Idle became %v, %v", l.Idle, err)
	}
}

func TestListenerFails(t *testing.T) {
	s, _ := New(Config{Network: fakeNetwork{}})
	l := listen(t, "tcp")
	_ = l.Close()
	if err := s.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener: %v", err)
	}
}

func TestConnectionLimit(t *testing.T) {
	echo := startEcho(t)
	address, s := startProxy(t, Config{Network: fakeNetwork{}, Limits: Limits{Connections: 2}})
	first, second := connect(t, "tcp", address), connect(t, "tcp", address)
	socksConnect(t, first, echo)
	socksConnect(t, second, echo)
	if _, err := connect(t, "tcp", address).Read(make([]byte, 1)); err == nil {
		t.Error("a third connection was taken")
	}
	send(t, first, []byte("still here"))
	expect(t, first, []byte("still here"))
	_ = first.(*net.TCPConn).CloseWrite()
	expectEnd(t, first)
	for { // the slot is free soon after the end of the connection
		c := connect(t, "tcp", address)
		_, _ = c.Write([]byte{5, 1, 0})
		if n, _ := c.Read(make([]byte, 2)); n == 2 {
			break
		}
	}
	if st := s.Stats(); st.Accepted != 3 || st.Refused < 1 {
		t.Errorf("%+v", st)
	}
}

// Listeners share limits and counters, and one that ends leaves the others alone.
func TestSeveralListeners(t *testing.T) {
	echo := startEcho(t)
	s, err := New(Config{Network: fakeNetwork{}, Limits: Limits{Connections: 2}})
	if err != nil {
		t.Fatal(err)
	}
	listeners := []net.Listener{listen(t, "tcp"), listen(t, "tcp")}
	var stops []func()
	var conns []net.Conn
	for _, l := range listeners {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, l) }()
		stops = append(stops, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		c := connect(t, "tcp", l.Addr().String())
		socksConnect(t, c, echo)
		conns = append(conns, c)
	}
	if _, err := connect(t, "tcp", listeners[0].Addr().String()).Read(make([]byte, 1)); err == nil {
		t.Error("a third connection was taken")
	}
	stops[0]()
	if _, err := conns[0].Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives its listener")
	}
	send(t, conns[1], []byte("still here"))
	expect(t, conns[1], []byte("still here"))
	stops[1]()
	if st := s.Stats(); st.Open != 0 || st.Accepted != 2 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
}

// Handshakes that stall end in time, each at its own point.
func TestHandshakeTimeout(t *testing.T) {
	for _, start := range []string{
		"",
		"\x05",
		"\x05\x02\x00",
		"\x05\x01\x02",
		"\x05\x01\x02\x01\x01u\x05p",
		"\x05\x01\x00\x05\x01\x00\x03\x10name",
		"G",
		"GET http://a/ HTTP/1.1\r\nHost: ",
	} {
		t.Run(fmt.Sprintf("%q", start), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipeListener()
				_, stop := serveOn(t, Config{Network: fakeNetwork{}}, l)
				c := l.dial()
				began := time.Now()
				go func() { _, _ = c.Write([]byte(start)) }()
				_, _ = io.Copy(io.Discard, c)
				if lasted := time.Since(began); lasted > 11*time.Second {
					t.Errorf("it took %s", lasted)
				}
				stop()
			})
		})
	}
}

// A head that comes in drips ends in time also if it is the second of its connection, and
// a connection without a second one ends after a while.
func TestSecondHeadTimeout(t *testing.T) {
	for drip, most := range map[string]time.Duration{"X": 12 * time.Second, "": keepAlive + time.Second} {
		synctest.Test(t, func(t *testing.T) {
			l := newPipeListener()
			_, stop := serveOn(t, Config{Network: failing(ErrRefused)}, l)
			c := l.dial()
			go func() { _, _ = io.WriteString(c, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n") }()
			expect(t, c, []byte("HTTP/1.1 502 "))
			began := time.Now()
			var dripping sync.WaitGroup
			dripping.Go(func() {
				_, err := io.WriteString(c, drip)
				for err == nil && drip != "" {
					time.Sleep(3 * time.Second)
					_, err = io.WriteString(c, drip)
				}
			})
			_, _ = io.Copy(io.Discard, c)
			if lasted := time.Since(began); lasted > most {
				t.Errorf("%q: it took %s", drip, lasted)
			}
			_ = c.Close()
			dripping.Wait()
			stop()
		})
	}
}

func TestDialTimeout(t *testing.T) {
	network := fakeNetwork{dial: func(ctx context.Context, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	for request, want := range map[string]string{
		"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50":               "\x05\x00" + reply(6),
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n":                            "HTTP/1.1 504 ",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n":                          "HTTP/1.1 504 ",
		"POST http://a/ HTTP/1.1\r\nContent-Length: 3\r\nHost: a\r\n\r\nabc": "HTTP/1.1 504 ",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newPipeListener()
			_, stop := serveOn(t, Config{Network: network}, l)
			c := l.dial()
			go func() { _, _ = io.WriteString(c, request) }()
			expect(t, c, []byte(want))
			_ = c.Close()
			stop()
		})
	}
}

// Connections on which nothing moves end, whatever they carry.
func TestIdle(t *testing.T) {
	for _, request := range []string{
		"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50",
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			network := fakeNetwork{dial: func(context.Context, string) (net.Conn, error) {
				near, far := net.Pipe()
				go func() {
					if strings.Contains(request, "upgrade") {
						_, _ = io.CopyN(io.Discard, far, 10)
						go func() { _, _ = io.Copy(io.Discard, far) }()
						_, _ = io.WriteString(far, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
					}
					_, _ = io.Copy(io.Discard, far)
				}()
				return near, nil
			}}
			l := newPipeListener()
			s, stop := serveOn(t, Config{Network: network, Limits: Limits{Idle: time.Minute}}, l)
			c := l.dial()
			began := time.Now()
			go func() { _, _ = io.WriteString(c, request) }()
			_, _ = io.Copy(io.Discard, c)
			if lasted := time.Since(began); lasted < time.Minute || lasted > 62*time.Second {
				t.Errorf("%q: it ended after %s", request, lasted)
			}
			synctest.Wait()
			if st := s.Stats(); st.Open != 0 {
				t.Errorf("%+v", st)
			}
			stop()
		})
	}
}

// TestAbandoned opens many connections of all kinds and drops them; those that are left
// half-way end with the proxy. goleak finds what stays.
func TestAbandoned(t *testing.T) {
	echo := startEcho(t)
	l := listen(t, "tcp")
	_, stop := serveOn(t, Config{Network: fakeNetwork{}}, l)
	requests := []string{
		"",
		"\x05",
		"\x05\x01\x00\x05",
		"\x05\x01\x00\x05\x01\x00" + string(appendTarget(nil, echo)),
		"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00",
		"CONNECT " + echo.String() + " HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT " + echo.String() + " HTTP/1.1\r\n",
		"POST http://" + echo.String() + "/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
		"GET http://" + echo.String() + "/ HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
	}
	var dropping sync.WaitGroup
	for i := range 1000 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		dropping.Go(func() {
			_, _ = io.WriteString(c, requests[i%len(requests)])
			switch {
			case i%2 == 0: // abandoned
				t.Cleanup(func() { _ = c.Close() })
			case i%3 == 0:
				_ = c.(*net.TCPConn).SetLinger(0)
				fallthrough
			default:
				_ = c.Close()
			}
		})
	}
	dropping.Wait()
	stop()
}

// BenchmarkTunnel compares 32 KiB echoed through the proxy with a direct connection.
func BenchmarkTunnel(b *testing.B) {
	echo := startEcho(b)
	address, _ := startProxy(b, Config{Network: fakeNetwork{}})
	for name, open := range map[string]func() net.Conn{
		"direct": func() net.Conn { return connect(b, "tcp", echo.String()) },
		"socks": func() net.Conn {
			c := connect(b, "tcp", address)
			socksConnect(b, c, echo)
			return c
		},
		"connect": func() net.Conn {
			c := connect(b, "tcp", address)
			send(b, c, []byte("CONNECT "+echo.String()+" HTTP/1.1\r\nHost: a\r\n\r\n"))
			expect(b, c, []byte("HTTP/1.1 200 Connection established\r\n\r\n"))
			return c
		},
	} {
		b.Run(name, func(b *testing.B) {
			c := open()
			defer c.Close()
			block := make([]byte, 32<<10)
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				send(b, c, block)
				if _, err := io.ReadFull(c, block); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDatagram(b *testing.B) {
	echo := startUDPEcho(b)
	address, _ := startProxy(b, Config{Network: fakeNetwork{}})
	relay := associate(b, connect(b, "tcp", address), netip.AddrPort{})
	u := udpSocket(b, "127.0.0.1")
	d := datagram(echo, strings.Repeat("x", 1200))
	b.ReportAllocs()
	for b.Loop() {
		sendTo(b, u, relay, d)
		expectDatagram(b, u, relay, d)
	}
}
