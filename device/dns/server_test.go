package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"
)

// serve runs a server with sockets in memory until the test ends.
func serve(t *testing.T, c Config) (*Server, *packets, *listener) {
	t.Helper()
	s := newServer(t, c)
	p, l := newPackets(), newListener()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, packetConn{packets: p}, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, p, l
}

func inBubble(t *testing.T, c Config, f func(t *testing.T, s *Server, p *packets, l *listener)) {
	synctest.Test(t, func(t *testing.T) {
		s, p, l := serve(t, c)
		f(t, s, p, l)
	})
}

// next returns the next reply by UDP; nil if there is none.
func (p *packets) next(t *testing.T) *wire.Msg {
	t.Helper()
	synctest.Wait()
	select {
	case out := <-p.out:
		m := &wire.Msg{}
		if err := m.Unpack(out.data); err != nil {
			t.Fatal(err)
		}
		return m
	default:
		return nil
	}
}

func send(t *testing.T, conn net.Conn, queries ...[]byte) {
	t.Helper()
	for _, q := range queries {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
			t.Fatal(err)
		}
	}
}

func receive(conn net.Conn) (*wire.Msg, error) {
	b, err := readStream(conn)
	if err != nil {
		return nil, err
	}
	m := &wire.Msg{}
	return m, m.Unpack(b)
}

func TestNew(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("New without a zone")
	}
}

// Sources that are not admitted learn nothing, by UDP and by TCP.
func TestSources(t *testing.T) {
	c := Config{Allowed: func(a netip.Addr) bool { return a.IsLoopback() || testSubnet.Contains(a) }}
	inBubble(t, c, func(t *testing.T, s *Server, p *packets, l *listener) {
		q := ask(t, "db.mesh.", wire.TypeAAAA)
		for _, from := range []string{"192.0.2.1:53", "[2001:db8::1]:99", "[fd01::1]:99"} {
			p.in <- packet{q, source(from)}
			if m := p.next(t); m != nil {
				t.Errorf("%s got %s", from, brief(m))
			}
		}
		conn := l.dial("192.0.2.1:99")
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection of another source: %v", err)
		}
		for _, from := range []string{"127.0.0.1:99", "[::ffff:127.0.0.1]:99", "[fd00:0:0:2::7]:99"} {
			p.in <- packet{q, source(from)}
			if m := p.next(t); m == nil || m.Rcode != wire.RcodeSuccess {
				t.Errorf("%s got %s", from, brief(m))
			}
		}
		if got, want := s.Stats(), (Stats{Queries: 3, Dropped: 4}); got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}

// A source that asks too often is not answered for a while, others are.
func TestRate(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server, p *packets, l *listener) {
		q := ask(t, "db.mesh.", wire.TypeAAAA)
		flood := func(n int) (answered int) {
			for range n {
				p.in <- packet{q, source("127.0.0.1:99")}
				if p.next(t) != nil {
					answered++
				}
			}
			return answered
		}
		if got := flood(maxBurst + 100); got != maxBurst {
			t.Errorf("%d of a flood were answered, want %d", got, maxBurst)
		}
		p.in <- packet{q, source("127.0.0.2:99")}
		if p.next(t) == nil {
			t.Error("another source was not answered")
		}
		conn := l.dial("127.0.0.1:99")
		send(t, conn, q)
		if _, err := receive(conn); !errors.Is(err, io.EOF) {
			t.Errorf("by TCP: %v", err)
		}
		time.Sleep(time.Second / 10)
		if got := flood(maxRate); got != maxRate/10 {
			t.Errorf("%d were answered after 0.1 s, want %d", got, maxRate/10)
		}
	})
}

// Addresses of one owner are counted together.
func TestOwner(t *testing.T) {
	c := Config{Owner: func(a netip.Addr) netip.Addr { return netip.PrefixFrom(a, 8).Masked().Addr() }}
	inBubble(t, c, func(t *testing.T, _ *Server, p *packets, l *listener) {
		var last net.Conn
		for i := range maxStreamsOf + 1 {
			last = l.dial(fmt.Sprintf("10.0.0.%d:99", i))
		}
		if _, err := last.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection beyond the limit: %v", err)
		}
		q := ask(t, "db.mesh.", wire.TypeAAAA)
		answered := 0
		for i := range maxBurst + 100 {
			p.in <- packet{q, source(fmt.Sprintf("10.0.0.%d:99", i%256))}
			if p.next(t) != nil {
				answered++
			}
		}
		if answered != maxBurst {
			t.Errorf("%d of a flood were answered, want %d", answered, maxBurst)
		}
	})
}

func TestReverseZone(t *testing.T) {
	for in, want := range map[string]string{
		"fd00:0:0:2::/64": "2.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "fd00::/8": "d.f.ip6.arpa", "fd00::/9": "", "10.0.0.0/8": "",
	} {
		if got := ReverseZone(netip.MustParsePrefix(in)); got != want {
			t.Errorf("ReverseZone(%s) = %q, want %q", in, got, want)
		}
	}
	if got := ReverseZone(netip.Prefix{}); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestStream(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, _ *Server, _ *packets, l *listener) {
		conn := l.dial("127.0.0.1:99")
		for range 3 { // one connection for several
			send(t, conn, ask(t, "many.mesh.", wire.TypeA))
			if m, err := receive(conn); err != nil || m.Truncated || len(m.Answer) != 40 {
				t.Errorf("%s, %v", brief(m), err)
			}
		}
		start := time.Now()
		if _, err := receive(conn); !errors.Is(err, io.EOF) || time.Since(start) != streamIdle {
			t.Errorf("an idle connection ended after %v: %v", time.Since(start), err)
		}

		for name, in := range map[string][]byte{
			"long":     {0xff, 0xff},
			"response": append([]byte{0, 12}, ask(t, "db.mesh.", wire.TypeA, func(m *wire.Msg) { m.Response = true })[:12]...),
			"short":    {0, 1, 0},
		} {
			conn := l.dial("127.0.0.1:99")
			if _, err := conn.Write(in); err != nil {
				t.Fatal(err)
			}
			if _, err := receive(conn); !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", name, err)
			}
		}

		// A client that sends half a message, and one that does not read.
		half, deaf := l.dial("127.0.0.1:99"), l.dial("127.0.0.1:99")
		if _, err := half.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
		send(t, deaf, ask(t, "db.mesh.", wire.TypeA))
		time.Sleep(streamIdle + time.Second)
		for _, c := range []net.Conn{half, deaf} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("still open: %v", err)
			}
		}
	})
}

// A source has so many connections and no more; others have theirs.
func TestStreamLimit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, _ *Server, _ *packets, l *listener) {
		answers := func(c net.Conn) bool {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			q := ask(t, "db.mesh.", wire.TypeA)
			_, err := c.Write(append([]byte{0, byte(len(q))}, q...))
			if err == nil {
				_, err = receive(c)
			}
			return err == nil
		}
		var last net.Conn
		for i := range maxStreamsOf + 1 {
			last = l.dial("127.0.0.1:99")
			if got := answers(last); got != (i < maxStreamsOf) {
				t.Fatalf("connection %d: answered %v", i, got)
			}
		}
		if !answers(l.dial("127.0.0.2:99")) {
			t.Error("another source was not answered")
		}
		time.Sleep(streamIdle + time.Second)
		if !answers(l.dial("127.0.0.1:99")) {
			t.Error("places of connections that have ended are not given back")
		}
	})
}

// Serve ends with its sockets, and says which failed.
func TestServeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		p, l := newPackets(), newListener()
		done := make(chan error, 1)
		go func() { done <- s.Serve(t.Context(), packetConn{packets: p}, l) }()
		synctest.Wait()
		conn := l.dial("127.0.0.1:99")
		p.Close()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "DNS queries by UDP at [fd00:0:0:2::1]:53") {
			t.Errorf("Serve: %v", err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a connection is still open")
		}
		if len(s.own) != 0 {
			t.Errorf("addresses that are left: %v", s.own)
		}
	})
}

// TestSockets asks by real sockets, as other programs do.
func TestSockets(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Config{Upstreams: func() []netip.AddrPort { return []netip.AddrPort{addrPort(pc.LocalAddr())} }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, pc, ln) }()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		at := pc.LocalAddr()
		if network == "tcp" {
			at = ln.Addr()
		}
		return (&net.Dialer{}).DialContext(ctx, network, at.String())
	}}
	if got, err := resolver.LookupNetIP(ctx, "ip", "db.mesh."); err != nil || len(got) != 3 {
		t.Errorf("db.mesh is %v, %v", got, err)
	}
	if got, err := resolver.LookupNetIP(ctx, "ip4", "many.mesh."); err != nil || len(got) != 40 {
		t.Errorf("many.mesh, which takes TCP, is %v, %v", got, err)
	}
	if got, err := resolver.LookupAddr(ctx, "fd00:0:0:2::2"); err != nil || len(got) != 1 || got[0] != "db.mesh." {
		t.Errorf("the reverse name is %v, %v", got, err)
	}
	var none *net.DNSError
	if _, err := resolver.LookupHost(ctx, "x.mesh."); !errors.As(err, &none) || !none.IsNotFound {
		t.Errorf("x.mesh: %v", err)
	}
	// The only upstream is the server itself, which does not ask itself.
	if got := brief(exchange(t, s, ask(t, "example.com.", wire.TypeA))); got != "REFUSED" {
		t.Errorf("its own upstream: %s", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
