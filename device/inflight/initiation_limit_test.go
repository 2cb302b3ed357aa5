package inflight

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
)

// initiate starts n handshakes with addresses in turn, and returns how many leave.
func (l *initiationLimit) initiate(n int, now time.Time, to func(i int) netip.AddrPort) (sent int) {
	for i := range n {
		if l.admit(to(i), now) {
			sent++
		}
	}
	return sent
}

// ports returns one of 60 ports of one host for each i.
func ports(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1000+i%60))
}

// spread returns a different IPv4 address for each i.
func spread(i int) netip.AddrPort {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 1<<30+uint32(i))
	return netip.AddrPortFrom(netip.AddrFrom4(a), 51820)
}

// inSubnet returns a different address of one /64 for each i.
func inSubnet(i int) netip.AddrPort {
	a := netip.MustParseAddr("2001:db8::").As16()
	binary.BigEndian.PutUint64(a[8:], uint64(i))
	return netip.AddrPortFrom(netip.AddrFrom16(a), 51820)
}

func TestInitiationLimit(t *testing.T) {
	start := time.Unix(1e9, 0)
	for _, tc := range []struct {
		name        string
		to          func(int) netip.AddrPort
		burst, rate int
	}{
		{"ports of one host", ports, destinationBurst, 5},
		{"addresses of one /64", inSubnet, destinationBurst, 5},
		{"many hosts", spread, nodeBurst, 50},
		{"what is no address", func(int) netip.AddrPort { return netip.AddrPort{} }, destinationBurst, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newInitiationLimit()
			if got := l.initiate(1800, start, tc.to); got != tc.burst {
				t.Errorf("%d leave at once, want %d", got, tc.burst)
			}
			for second := range 3 {
				if got := l.initiate(1800, start.Add(time.Duration(second+1)*time.Second), tc.to); got != tc.rate {
					t.Errorf("%d leave in second %d, want %d", got, second, tc.rate)
				}
			}
			if got := l.initiate(1800, start.Add(time.Hour), tc.to); got != tc.burst {
				t.Errorf("%d leave after an hour, want %d", got, tc.burst)
			}
		})
	}
}

// Two hosts don't share a budget, and neither do two subnets.
func TestInitiationLimitOfOthers(t *testing.T) {
	start := time.Unix(1e9, 0)
	l := newInitiationLimit()
	l.initiate(100, start, ports)
	l.initiate(100, start, inSubnet)
	for _, to := range []string{"192.0.2.2:1000", "[2001:db8:0:1::1]:51820"} {
		if !l.admit(netip.MustParseAddrPort(to), start) {
			t.Errorf("%s waits for another host", to)
		}
	}
	// A refused host takes nothing of the node's budget.
	if got, want := l.initiate(2000, start, spread), nodeBurst-2*destinationBurst-2; got != want {
		t.Errorf("%d others leave, want %d", got, want)
	}
}

// An address that has answered is not limited, but other ports of its host are.
func TestInitiationLimitAnswered(t *testing.T) {
	start := time.Unix(1e9, 0)
	l := newInitiationLimit()
	l.initiate(100, start, ports)
	peer := netip.MustParseAddrPort("192.0.2.1:51820")
	l.answer(peer, start)
	always := func(int) netip.AddrPort { return peer }
	if got := l.initiate(100, start.Add(answerTime-1), always); got != 100 {
		t.Errorf("%d of 100 leave for an address that answered", got)
	}
	if got := l.initiate(100, start, ports); got != 0 {
		t.Errorf("%d leave for ports that did not answer", got)
	}
	if got := l.initiate(100, start.Add(answerTime), always); got != destinationBurst {
		t.Errorf("%d leave when the answer is old, want %d", got, destinationBurst)
	}
}

// Neither made-up destinations nor answers fill memory, and a destination does not
// get its budget back by it.
func TestInitiationLimitMemory(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newInitiationLimit()
	for second := range 400 {
		l.initiate(60, now, ports)
		l.initiate(100, now, func(i int) netip.AddrPort { return spread(second*100 + i) })
		l.answer(spread(1<<20+second), now)
		for i := range 50 {
			l.answer(spread(1<<21+second*50+i), now)
		}
		now = now.Add(time.Second)
	}
	if len(l.destinations) > maxDestinations || len(l.answered) > maxAnswers {
		t.Errorf("%d destinations and %d answers are remembered", len(l.destinations), len(l.answered))
	}
	if got := l.initiate(60, now, ports); got > 5 {
		t.Errorf("a host that is flooded gets %d more within a second", got)
	}
}

// sink is a bind that counts what it sends.
type sink struct {
	conn.Bind
	sent int
}

func (s *sink) Send(bufs [][]byte, _ conn.Endpoint) error {
	s.sent += len(bufs)
	return nil
}

// Only initiations are limited, and only if the limit was asked for.
func TestBindLimitsInitiations(t *testing.T) {
	for _, tc := range []struct {
		name    string
		limited bool
		kind    byte
		size    int
		want    int
	}{
		{"initiations", true, wireguard.MessageInitiationType, wireguard.MessageInitiationSize, destinationBurst},
		{"initiations without a limit", false, wireguard.MessageInitiationType, wireguard.MessageInitiationSize, 100},
		{"responses", true, wireguard.MessageResponseType, wireguard.MessageResponseSize, 100},
		{"packets of the same size", true, wireguard.MessageTransportType, wireguard.MessageInitiationSize, 100},
	} {
		var s sink
		b := &Bind{Bind: &s, gate: newGate(maxInFlight)}
		if tc.limited {
			b.LimitInitiations()
		}
		buf := make([]byte, tc.size)
		buf[0] = tc.kind
		ep := &conn.StdNetEndpoint{AddrPort: netip.MustParseAddrPort("192.0.2.1:51820")}
		for range 100 {
			_ = b.Send([][]byte{buf}, ep) // what is refused is counted
		}
		if s.sent != tc.want || b.DroppedInitiations() != uint64(100-tc.want) {
			t.Errorf("%s: %d are sent and %d dropped, want %d sent of 100", tc.name, s.sent, b.DroppedInitiations(), tc.want)
		}
		b.Answered(ep.AddrPort)
		if err := b.Send([][]byte{buf}, ep); err != nil {
			t.Errorf("%s: after an answer: %v", tc.name, err)
		}
	}
}

func TestBindSendAllocs(t *testing.T) {
	b := &Bind{Bind: &sink{}, gate: newGate(maxInFlight)}
	b.LimitInitiations()
	packet := make([]byte, wireguard.MessageInitiationSize)
	packet[0] = wireguard.MessageTransportType
	bufs, ep := [][]byte{packet}, &conn.StdNetEndpoint{}
	if n := testing.AllocsPerRun(100, func() { _ = b.Send(bufs, ep) }); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
