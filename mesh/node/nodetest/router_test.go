package nodetest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// open opens a socket, and closes it with the test.
func open(t *testing.T, h *Host) *socket {
	t.Helper()
	s, err := h.listen(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// at returns a socket's address as its host has it.
func (s *socket) at() netip.AddrPort { return netip.AddrPortFrom(s.host.addresses[0], s.port) }

func send(t *testing.T, s *socket, to netip.AddrPort, text string) {
	t.Helper()
	if err := s.send(netip.Addr{}, to, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// arrived returns what has arrived a second later.
func arrived(s *socket) (list []Datagram) {
	time.Sleep(time.Second)
	synctest.Wait()
	for len(s.received) > 0 {
		list = append(list, <-s.received)
	}
	return list
}

func TestRouterDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter(1)
		a := open(t, r.Internet().Host("192.0.2.1", "2001:db8::1"))
		b := open(t, r.Internet().Host("192.0.2.2", "2001:db8::2"))
		a.host.SetLine(Line{Delay: 100 * time.Millisecond})
		start := time.Now()
		send(t, a, b.at(), "1")
		send(t, a, b.at(), "2")
		send(t, a, netip.AddrPortFrom(netip.MustParseAddr("2001:db8::2"), b.port), "3")
		for i := range 3 {
			d, err := b.receive()
			if err != nil || string(d.Payload) != fmt.Sprint(i+1) || d.Source.Port() != a.port || d.Source.Addr().Is4() != (i < 2) {
				t.Errorf("datagram %d: %v, %v", i, d, err)
			}
			if took := time.Since(start); took != 105*time.Millisecond {
				t.Errorf("datagram %d took %v", i, took)
			}
		}
	})
}

func TestSocketErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, NewRouter(1).Internet().Host("192.0.2.1"))
		if _, err := s.host.listen(s.port); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen on the same port: %v", err)
		}
		if err := s.send(netip.Addr{}, netip.MustParseAddrPort("[2001:db8::2]:9"), nil); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("send to another family: %v", err)
		}
		s.close()
		if err := s.send(netip.Addr{}, s.at(), nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send on a closed socket: %v", err)
		}
		if _, err := s.receive(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("receive on a closed socket: %v", err)
		}
	})
}

func TestRouterLoses(t *testing.T) {
	count := func(seed uint64) (n int) {
		synctest.Test(t, func(t *testing.T) {
			r := NewRouter(seed)
			a, b := open(t, r.Internet().Host("192.0.2.1")), open(t, r.Internet().Host("192.0.2.2"))
			b.host.SetLine(Line{Loss: 0.5})
			for range 200 {
				send(t, a, b.at(), "")
			}
			n = len(arrived(b))
			b.host.SetLine(Line{BlocksUDP: true})
			send(t, a, b.at(), "")
			send(t, b, a.at(), "")
			if got := len(arrived(a)) + len(arrived(b)); got != 0 {
				t.Errorf("%d datagrams passed a line that blocks UDP", got)
			}
		})
		return n
	}
	if n, again := count(1), count(1); n < 60 || n > 140 || n != again {
		t.Errorf("%d of 200 arrived, then %d", n, again)
	}
}

func TestCaptureAndDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter(1)
		a, b := open(t, r.Internet().Host("192.0.2.1")), open(t, r.Internet().Host("192.0.2.2"))
		all, some := r.Capture(nil), r.Capture(func(d Datagram) bool { return len(d.Payload) > 1 })
		r.Drop(func(d Datagram) bool { return string(d.Payload) == "lost" })
		for _, text := range []string{"lost", "x"} {
			send(t, a, b.at(), text)
		}
		if got := arrived(b); len(got) != 1 || string(got[0].Payload) != "x" {
			t.Errorf("arrived: %v", got)
		}
		if got := all.Datagrams(); len(got) != 2 || got[0].Source != a.at() || got[0].Destination != b.at() {
			t.Errorf("captured %v", got)
		}
		if got := some.Datagrams(); len(got) != 1 || string(got[0].Payload) != "lost" {
			t.Errorf("captured with a filter: %v", got)
		}
	})
}

// TestGateways sends from inside to two sockets of one host outside, and then back
// from sockets that were and that were not sent to.
func TestGateways(t *testing.T) {
	for _, test := range []struct {
		kind Kind
		// lets in from: the address and port sent to, another port of that address, another address
		same, port, address bool
		mappings            int // of one socket that sends to two others
	}{
		{FullCone, true, true, true, 1},
		{AddressRestricted, true, true, false, 1},
		{PortRestricted, true, false, false, 1},
		{Symmetric, true, false, false, 2},
		{Firewall, true, false, false, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := NewRouter(1)
			outside, other := r.Internet().Host("198.51.100.1"), open(t, r.Internet().Host("198.51.100.2"))
			one, two, unsent := open(t, outside), open(t, outside), open(t, outside)
			network := r.Internet().Behind(test.kind, "203.0.113.1")
			inside := open(t, network.Host("192.168.0.2"))
			var sources []netip.AddrPort
			for _, s := range []*socket{one, two} {
				send(t, inside, s.at(), "out")
				for _, d := range arrived(s) {
					sources = append(sources, d.Source)
				}
			}
			if n := len(slices.Compact(slices.Clone(sources))); len(sources) != 2 || n != test.mappings {
				t.Fatalf("%v: sources %v, want %d mappings", test.kind, sources, test.mappings)
			}
			for name, back := range map[string]struct {
				from *socket
				want bool
			}{"same": {one, test.same}, "other port": {unsent, test.port}, "other address": {other, test.address}} {
				send(t, back.from, sources[0], name)
				if got := len(arrived(inside)) == 1; got != back.want {
					t.Errorf("%v, from %s: %v", test.kind, name, got)
				}
			}

			time.Sleep(MappingLifetime)
			send(t, one, sources[0], "late")
			if len(arrived(inside)) != 0 {
				t.Errorf("%v: a datagram came in after the mapping's lifetime", test.kind)
			}
			send(t, inside, one.at(), "again")
			if got := arrived(one); len(got) != 1 || (got[0].Source == sources[0]) != (test.kind == Firewall) {
				t.Errorf("%v: after that, sent from %v", test.kind, got)
			}
			network.Rebind()
			send(t, inside, one.at(), "rebound")
			if got := arrived(one); len(got) != 1 {
				t.Errorf("%v: rebound: %v", test.kind, got)
			}
		})
	}
}

func TestGatewaysOfGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter(1)
		outside := open(t, r.Internet().Host("198.51.100.1", "2001:db8:1::1"))
		carrier := r.Internet().Behind(FullCone, "203.0.113.1")
		home := carrier.Behind(FullCone, "100.64.0.2")
		a, b := open(t, home.Host("192.168.0.2", "2001:db8:2::2")), open(t, home.Host("192.168.0.3"))
		if got := a.host.Public(); got != netip.MustParseAddr("203.0.113.1") {
			t.Errorf("Public = %v", got)
		}
		if got := outside.host.Public(); got != outside.host.addresses[0] {
			t.Errorf("Public of a host in the internet = %v", got)
		}

		send(t, a, outside.at(), "out")
		got := arrived(outside)
		if len(got) != 1 || got[0].Source.Addr() != a.host.Public() {
			t.Fatalf("through two gateways: %v", got)
		}
		send(t, b, b.at(), "itself")
		send(t, b, a.at(), "neighbour")
		if len(arrived(a)) != 1 || len(arrived(b)) != 1 {
			t.Error("not delivered inside a network")
		}
		send(t, outside, a.at(), "private")
		send(t, a, netip.AddrPortFrom(outside.host.addresses[1], outside.port), "no IPv6 outside")
		if len(arrived(a))+len(arrived(outside)) != 0 {
			t.Error("delivered without a route")
		}

		// By the port at the carrier.
		peer := open(t, carrier.Behind(FullCone, "100.64.0.3").Host("192.168.0.2"))
		send(t, peer, got[0].Source, "hairpin")
		if len(arrived(a)) != 1 {
			t.Error("a gateway did not send back inside what is for its outside address")
		}
		send(t, b, netip.AddrPortFrom(a.host.Public(), 1), "nobody")
		if len(arrived(a))+len(arrived(b)) != 0 {
			t.Error("a port without a mapping led inside")
		}
	})
}

func TestMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter(1)
		a, b := open(t, r.Internet().Host("192.0.2.1")), open(t, r.Internet().Host("192.0.2.2"))
		send(t, b, a.at(), "under way")
		a.host.Move("192.0.2.9", "2001:db8::9")
		<-a.host.Changed()
		send(t, b, a.at(), "new")
		if got := arrived(a); len(got) != 1 || string(got[0].Payload) != "new" {
			t.Errorf("arrived: %v", got)
		}
		links, err := a.host.Links()
		want := []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24"), netip.MustParsePrefix("2001:db8::9/64")}
		if err != nil || len(links) != 1 || !slices.Equal(links[0].Addresses, want) {
			t.Errorf("links %v, %v", links, err)
		}
		if u, err := a.host.Underlay(); err != nil || !u.Default4 || !u.Default6 {
			t.Errorf("underlay %v, %v", u, err)
		}
	})
}

func TestMessage(t *testing.T) {
	for _, test := range []struct {
		kind byte
		size int
		want Message
	}{
		{1, 148, Initiation},
		{2, 92, Response},
		{3, 64, Cookie},
		{4, 32, Transport},
		{4, 1452, Transport},
		{1, 147, Other},
		{4, 31, Other},
		{5, 148, Other},
		{0, 32, Other},
		{1, 0, Other},
	} {
		payload := make([]byte, test.size)
		copy(payload, []byte{test.kind})
		if got := (Datagram{Payload: payload}).Message(); got != test.want {
			t.Errorf("type %d with %d bytes: %v", test.kind, test.size, got)
		}
	}
}
