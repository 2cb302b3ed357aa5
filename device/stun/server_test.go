package stun

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestServerAnswersWithTheSource(t *testing.T) {
	s := NewServer(epoch)
	for _, from := range []string{"192.0.2.7:51820", "[2001:db8::7]:1", "[::ffff:192.0.2.7]:40000"} {
		want := netip.MustParseAddrPort(from)
		id := ID{1, 2, 3}
		request := AppendRequest(nil, id, 0)
		answer := s.Answer(epoch, request, want)
		m, err := Parse(answer)
		if err != nil || m.Type != Response || m.ID != id || m.Mapped != netip.AddrPortFrom(want.Addr().Unmap(), want.Port()) {
			t.Errorf("answer to %s: %+v, %v", from, m, err)
		}
		if len(answer) > len(request) {
			t.Errorf("the answer to %s has %d bytes, the request %d", from, len(answer), len(request))
		}
	}
}

func TestServerRefusesWhatItDoesNotUnderstand(t *testing.T) {
	s := NewServer(epoch)
	answer := s.Answer(epoch, AppendRequest(nil, ID{1}, ChangeIP), netip.MustParseAddrPort("192.0.2.7:51820"))
	m, err := Parse(answer)
	if err != nil || m.Type != Failure || m.Code != 420 {
		t.Errorf("answer to CHANGE-REQUEST: %+v, %v; want code 420", m, err)
	}
}

func TestServerIgnoresAllButRequests(t *testing.T) {
	s := NewServer(epoch)
	from := netip.MustParseAddrPort("192.0.2.7:51820")
	for name, b := range map[string][]byte{
		"a response": unhex(t, sample4),
		"nothing":    nil,
		"a request with a wrong fingerprint": func() []byte {
			b := AppendRequest(nil, ID{1}, 0)
			b[len(b)-1] ^= 1
			return b
		}(),
	} {
		if a := s.Answer(epoch, b, from); a != nil {
			t.Errorf("%s is answered: %x", name, a)
		}
	}
	if a := s.Answer(epoch, AppendRequest(nil, ID{}, 0), netip.AddrPortFrom(from.Addr(), 0)); a != nil {
		t.Error("a request from port 0 is answered")
	}
}

func answered(s *Server, now time.Time, requests int, from func(i int) netip.AddrPort) (n int) {
	for i := range requests {
		if s.Answer(now, AppendRequest(nil, ID{byte(i)}, 0), from(i)) != nil {
			n++
		}
	}
	return n
}

func TestServerLimitsAnAddress(t *testing.T) {
	for name, from := range map[string]func(i int) netip.AddrPort{
		"IPv4": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), uint16(1000+i))
		},
		"IPv6, all of a /64": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i+1)), 51820)
		},
	} {
		s := NewServer(epoch)
		if n := answered(s, epoch, 200, from); n != addressBurst {
			t.Errorf("%s: %d answers at once, want %d", name, n, addressBurst)
		}
		if n := answered(s, epoch.Add(time.Second), 200, from); n != int(time.Second/perAddress) {
			t.Errorf("%s: %d answers a second later, want %d", name, n, time.Second/perAddress)
		}
	}
}

func TestServerLimitsAllAddresses(t *testing.T) {
	s := NewServer(epoch)
	from := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 51820)
	}
	if n := answered(s, epoch, 5000, from); n != serverBurst {
		t.Errorf("%d answers at once, want %d", n, serverBurst)
	}
}

func FuzzServer(f *testing.F) {
	f.Add(AppendRequest(nil, ID{1}, 0))
	f.Add(AppendRequest(nil, ID{1}, ChangeIP|ChangePort))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewServer(epoch)
		answer := s.Answer(epoch, b, netip.MustParseAddrPort("[2001:db8::7]:1"))
		if answer == nil {
			return
		}
		if len(answer) > len(b)+24 {
			t.Errorf("%d bytes answer %d", len(answer), len(b))
		}
		m, err := Parse(answer)
		if err != nil || m.ID != IDOf(b) {
			t.Errorf("answer %x: %+v, %v", answer, m, err)
		}
	})
}
