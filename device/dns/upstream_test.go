package dns

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"
)

// via is a configuration with upstreams in memory, in the order of their addresses.
func via(u upstreams) Config {
	var list []netip.AddrPort
	for a := range u {
		list = append(list, netip.MustParseAddrPort(a))
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return Config{Dial: u.dial, Upstreams: func() []netip.AddrPort { return list }}
}

const (
	first  = "192.0.2.1:53"
	second = "192.0.2.2:53"
	third  = "192.0.2.3:53"
	client = "127.0.0.1:99"
)

func silent(string, *wire.Msg) *wire.Msg { return nil }

func says(txt string) func(string, *wire.Msg) *wire.Msg {
	return func(_ string, q *wire.Msg) *wire.Msg { return text(q, txt) }
}

func TestForward(t *testing.T) {
	rcode := func(rcode int) func(string, *wire.Msg) *wire.Msg {
		return func(_ string, q *wire.Msg) *wire.Msg { return (&wire.Msg{}).SetRcode(q, rcode) }
	}
	twist := func(change func(*wire.Msg)) func(string, *wire.Msg) *wire.Msg {
		return func(_ string, q *wire.Msg) *wire.Msg { m := text(q, "wrong"); change(m); return m }
	}
	const right, failed = `NOERROR ra | www.Example. 60 IN TXT "right"`, "SERVFAIL ra"
	for _, test := range []struct {
		name string
		u    upstreams
		want string
		took time.Duration
	}{
		{"one", upstreams{first: says("right")}, right, 0},
		{"silent first", upstreams{first: silent, second: says("right")}, right, upstreamTry},
		{"absent first", upstreams{first: nil, second: says("right")}, right, 0},
		{"all silent", upstreams{first: silent, second: silent, third: silent}, failed, upstreamTotal},
		{"four", upstreams{first: nil, second: nil, third: nil, "192.0.2.4:53": says("right")}, failed, 0},
		{"first refuses", upstreams{first: rcode(wire.RcodeRefused), second: says("right")}, right, 0},
		{"first fails", upstreams{first: rcode(wire.RcodeServerFailure), second: says("right")}, right, 0},
		{"all refuse", upstreams{first: rcode(wire.RcodeRefused), second: silent}, "REFUSED ra", upstreamTry},
		{"no such name", upstreams{first: rcode(wire.RcodeNameError), second: says("right")}, "NXDOMAIN ra", 0},
		{"other id", upstreams{first: twist(func(m *wire.Msg) { m.Id++ }), second: says("right")}, right, upstreamTry},
		{"no response", upstreams{first: twist(func(m *wire.Msg) { m.Response = false }), second: says("right")}, right, upstreamTry},
		{"other name", upstreams{first: twist(func(m *wire.Msg) { m.Question[0].Name = "evil." }), second: says("right")}, right, upstreamTry},
		{"other type", upstreams{first: twist(func(m *wire.Msg) { m.Question[0].Qtype = wire.TypeA }), second: says("right")}, right, upstreamTry},
		{"no question", upstreams{first: twist(func(m *wire.Msg) { m.Question = nil }), second: says("right")}, right, upstreamTry},
		{"other case", upstreams{first: func(_ string, q *wire.Msg) *wire.Msg {
			m := text(q, "right")
			m.Question[0].Name = strings.ToUpper(m.Question[0].Name)
			return m
		}}, right, 0},
		{"truncated", upstreams{first: func(network string, q *wire.Msg) *wire.Msg {
			m := text(q, "right")
			if network == "udp" {
				m.Truncated, m.Answer = true, nil
			}
			return m
		}}, right, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, via(test.u), func(t *testing.T, s *Server, p *packets, _ *listener) {
				start := time.Now()
				p.in <- packet{ask(t, "www.Example.", wire.TypeTXT), source(client)}
				synctest.Wait()
				if test.took > 0 {
					time.Sleep(test.took)
				}
				m := p.next(t)
				if m == nil || brief(m) != test.want || m.Id != 7 || m.Question[0].Name != "www.Example." {
					t.Errorf("after %v: %s, want %s", time.Since(start), brief(m), test.want)
				}
				want := Stats{Queries: 1, Forwarded: 1}
				if test.want == failed {
					want.Failed = 1
				}
				if got := s.Stats(); got != want {
					t.Errorf("counted %+v, want %+v", got, want)
				}
			})
		})
	}
}

// The upstream that has answered is asked first from then on.
func TestGoodUpstream(t *testing.T) {
	inBubble(t, via(upstreams{first: silent, second: says("right")}), func(t *testing.T, _ *Server, p *packets, _ *listener) {
		for i, wait := range []time.Duration{upstreamTry, 0} {
			p.in <- packet{ask(t, "www.example.", wire.TypeTXT), source(client)}
			time.Sleep(wait)
			if m := p.next(t); m == nil || len(m.Answer) != 1 {
				t.Errorf("query %d after %v: %s", i, wait, brief(m))
			}
		}
	})
}

// TestNeverUpstream: what is the mesh's, or no query for others, does not leave the process.
func TestNeverUpstream(t *testing.T) {
	var asked []string
	c := via(upstreams{first: func(_ string, q *wire.Msg) *wire.Msg {
		asked = append(asked, q.Question[0].Name)
		return text(q, "leaked")
	}})
	inBubble(t, c, func(t *testing.T, _ *Server, p *packets, _ *listener) {
		for _, name := range []string{
			"db.mesh.", "x.MESH.", "mesh.", "www.example.com.mesh.", "2.0.9.10.in-addr.arpa.",
			"2.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "f.2.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.IP6.arpa.",
		} {
			for _, typ := range []uint16{wire.TypeA, wire.TypePTR, wire.TypeANY, wire.TypeDS, wire.TypeTXT} {
				p.in <- packet{ask(t, name, typ), source(client)}
				if m := p.next(t); m == nil || m.Rcode == wire.RcodeServerFailure {
					t.Errorf("%s %s: %s", name, wire.Type(typ), brief(m))
				}
			}
		}
		p.in <- packet{ask(t, "norec.example.", wire.TypeA, func(m *wire.Msg) { m.RecursionDesired = false }), source(client)}
		if got := brief(p.next(t)); got != "REFUSED ra" {
			t.Errorf("without recursion: %s", got)
		}
		p.in <- packet{ask(t, "transfer.example.", wire.TypeAXFR), source(client)}
		if got := brief(p.next(t)); got != "REFUSED ra" {
			t.Errorf("a transfer: %s", got)
		}
		if len(asked) > 0 {
			t.Errorf("upstreams were asked for %q", asked)
		}
	})
}

// Options of the client stay here; the query has EDNS, and says how far it has come.
func TestForwardedQuery(t *testing.T) {
	var got *wire.Msg
	c := via(upstreams{first: func(_ string, q *wire.Msg) *wire.Msg {
		got = q.Copy()
		m := text(q, "right")
		m.AuthenticatedData = true
		m.Extra = []wire.RR{newOPT(false), &wire.A{Hdr: header("glue.", wire.TypeA), A: net.IPv4(192, 0, 2, 9)}}
		return m
	}})
	inBubble(t, c, func(t *testing.T, _ *Server, p *packets, _ *listener) {
		p.in <- packet{ask(t, "www.example.", wire.TypeTXT, func(m *wire.Msg) {
			m.SetEdns0(4096, true)
			m.CheckingDisabled = true
			m.IsEdns0().Option = []wire.EDNS0{&wire.EDNS0_COOKIE{Code: wire.EDNS0COOKIE, Cookie: "0011223344556677"}}
		}), source(client)}
		reply := p.next(t)
		opt := got.IsEdns0()
		if len(got.Extra) != 1 || !opt.Do() || len(opt.Option) != 1 || hops(opt) != 1 || !got.CheckingDisabled || !got.RecursionDesired {
			t.Errorf("upstream was asked: %v", got)
		}
		if reply == nil || !reply.AuthenticatedData || len(reply.Extra) != 2 || reply.IsEdns0() == nil || !reply.IsEdns0().Do() {
			t.Errorf("the reply is %v", reply)
		}
		p.in <- packet{ask(t, "www.example.", wire.TypeTXT), source(client)}
		if reply := p.next(t); reply == nil || reply.AuthenticatedData || reply.IsEdns0() != nil {
			t.Errorf("the reply to a client without EDNS is %v", reply)
		}
	})
}

// TestLoop: servers that are each other's upstream, or their own by a resolver between, fail a
// query after a few rounds.
func TestLoop(t *testing.T) {
	for _, keeps := range []bool{true, false} { // whether the resolver between keeps the option
		var rounds atomic.Int64
		var p *packets
		c := via(upstreams{first: func(_ string, q *wire.Msg) *wire.Msg {
			rounds.Add(1)
			again := q.Copy()
			if !keeps {
				again.Extra = nil
			}
			b, err := again.Pack()
			if err != nil {
				t.Error(err)
			}
			p.in <- packet{b, source("127.0.0.53:53")}
			for out := range p.out {
				var m wire.Msg
				if m.Unpack(out.data) == nil && m.Id == q.Id {
					return &m
				}
				p.out <- out
			}
			return nil
		}})
		inBubble(t, c, func(t *testing.T, _ *Server, packets *packets, _ *listener) {
			p = packets
			p.in <- packet{ask(t, "www.example.", wire.TypeA), source(client)}
			synctest.Wait()
			want := int64(maxHops)
			if !keeps {
				want = 1
				time.Sleep(upstreamTry)
			}
			if m := p.next(t); m == nil || m.Rcode != wire.RcodeServerFailure || rounds.Load() != want {
				t.Errorf("option kept: %v; %s after %d rounds", keeps, brief(m), rounds.Load())
			}
		})
	}
}

// A client that asked first and is gone takes the answer from nobody else.
func TestWaitingWithoutTheFirst(t *testing.T) {
	c := via(upstreams{first: func(_ string, q *wire.Msg) *wire.Msg {
		time.Sleep(time.Second)
		return text(q, "late")
	}})
	inBubble(t, c, func(t *testing.T, s *Server, p *packets, l *listener) {
		query := ask(t, "www.example.", wire.TypeTXT)
		gone := l.dial("127.0.0.2:99")
		send(t, gone, query)
		synctest.Wait()
		p.in <- packet{query, source(client)}
		synctest.Wait()
		send(t, gone, []byte("no query")) // ends the connection
		time.Sleep(time.Second)
		if got, want := brief(p.next(t)), `NOERROR ra | www.example. 60 IN TXT "late"`; got != want {
			t.Errorf("the other client got %s, want %s", got, want)
		}
	})
}

// Equal queries that wait are asked once; a source has so many that wait, and all have.
func TestWaiting(t *testing.T) {
	var asked atomic.Int64
	c := via(upstreams{first: func(_ string, q *wire.Msg) *wire.Msg {
		asked.Add(1)
		time.Sleep(time.Second)
		return text(q, "late")
	}})
	inBubble(t, c, func(t *testing.T, s *Server, p *packets, _ *listener) {
		query := ask(t, "www.example.", wire.TypeTXT)
		for range maxWaitingOf {
			p.in <- packet{query, source(client)}
		}
		if m := p.next(t); m != nil {
			t.Errorf("at once: %s", brief(m))
		}
		p.in <- packet{query, source(client)}
		if got := brief(p.next(t)); got != "SERVFAIL ra" {
			t.Errorf("beyond the limit: %s", got)
		}
		p.in <- packet{ask(t, "db.mesh.", wire.TypeAAAA), source(client)}
		if m := p.next(t); m == nil || len(m.Answer) != 1 {
			t.Errorf("a name of the mesh meanwhile: %s", brief(m))
		}
		p.in <- packet{query, source("127.0.0.2:99")}
		if m := p.next(t); m != nil {
			t.Errorf("another source at once: %s", brief(m))
		}
		time.Sleep(time.Second)
		for i := range maxWaitingOf + 1 {
			if m := p.next(t); m == nil || len(m.Answer) != 1 {
				t.Fatalf("reply %d: %s", i, brief(m))
			}
		}
		if asked.Load() != 1 {
			t.Errorf("upstream was asked %d times", asked.Load())
		}
		if s.limits.waiting.total != 0 || len(s.limits.waiting.of) != 0 {
			t.Errorf("places that are not given back: %d", s.limits.waiting.total)
		}
	})
}

// Queries of one connection are answered as their answers come; a client may end its half
// before.
func TestPipelined(t *testing.T) {
	c := via(upstreams{first: func(_ string, q *wire.Msg) *wire.Msg {
		time.Sleep(time.Second)
		return text(q, "late")
	}})
	inBubble(t, c, func(t *testing.T, _ *Server, _ *packets, l *listener) {
		conn := l.dial(client)
		send(t, conn, ask(t, "a.example.", wire.TypeTXT), ask(t, "b.example.", wire.TypeTXT), ask(t, "db.mesh.", wire.TypeAAAA))
		start := time.Now()
		if m, err := receive(conn); err != nil || m.Question[0].Name != "db.mesh." {
			t.Errorf("first came %s, %v", brief(m), err)
		}
		for range 2 {
			if m, err := receive(conn); err != nil || m.Question[0].Qtype != wire.TypeTXT {
				t.Errorf("then came %s, %v", brief(m), err)
			}
		}
		if time.Since(start) > time.Second {
			t.Errorf("both took %v", time.Since(start))
		}
		// Beyond its limit, a connection is not read.
		go func() {
			for i := range maxPipelined + 1 {
				q := ask(t, string('a'+rune(i))+".example.", wire.TypeTXT)
				if _, err := conn.Write(append([]byte{0, byte(len(q))}, q...)); err != nil {
					t.Error(err)
				}
			}
		}()
		for i := range maxPipelined + 1 {
			if m, err := receive(conn); err != nil || len(m.Answer) != 1 {
				t.Errorf("%d: %s, %v", i, brief(m), err)
			}
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		conn.Close()
	})
}

// A stop ends queries that wait.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, via(upstreams{first: silent}))
		p, l := newPackets(), newListener()
		done := make(chan error, 1)
		go func() { done <- s.Serve(t.Context(), packetConn{packets: p}, l) }()
		p.in <- packet{ask(t, "www.example.", wire.TypeTXT), source(client)}
		conn := l.dial(client)
		send(t, conn, ask(t, "ftp.example.", wire.TypeTXT))
		synctest.Wait()
		start := time.Now()
		p.Close()
		if err := <-done; err == nil || time.Since(start) != 0 {
			t.Errorf("Serve ended after %v: %v", time.Since(start), err)
		}
	})
}

// FuzzRelay: whatever an upstream sends, the client gets a reply that it can read, of a size that
// it takes.
func FuzzRelay(f *testing.F) {
	q := &wire.Msg{}
	q.SetQuestion("www.example.", wire.TypeTXT)
	b, err := text(q, "right").Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Add(b[:len(b)-3], false)
	s := newServer(f, via(upstreams{first: silent}))
	f.Fuzz(func(t *testing.T, in []byte, edns bool) {
		q, _ := s.read(ask(t, "www.example.", wire.TypeTXT, func(m *wire.Msg) {
			if edns {
				m.SetEdns0(4096, true)
			}
		}))
		from := &wire.Msg{}
		if from.Unpack(in) != nil || sound(from) != nil {
			return
		}
		for _, size := range []int{q.packetSize(), wire.MaxMsgSize} {
			b := encode(q.relay(from), size, nil)
			var m wire.Msg
			if err := m.Unpack(b); err != nil || len(b) > size || m.Id != 7 || !m.Response {
				t.Fatalf("%d bytes of %d, %+v: %v", len(b), size, m.MsgHdr, err)
			}
			if (m.IsEdns0() != nil) != edns {
				t.Fatalf("EDNS in the reply: %v, in the query: %v", !edns, edns)
			}
		}
	})
}
