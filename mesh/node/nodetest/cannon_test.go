package nodetest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// A node has many peers that never answer. It starts few handshakes with them, and
// another node still comes up and stays up.
func TestSilentPeers(t *testing.T) {
	for name, tc := range map[string]struct {
		endpoint func(i int) string
		peers    int
		limit    int // initiations per second
	}{
		"at ports of a host":     {func(i int) string { return fmt.Sprintf("203.0.113.1:%d", 1000+i) }, 100, 5},
		"at one port of a host":  {func(int) string { return "203.0.113.1:51820" }, 100, 5},
		"in one subnet of IPv6":  {func(i int) string { return fmt.Sprintf("[2001:db8:5::%x]:51820", i+1) }, 100, 5},
		"at a host for each one": {func(i int) string { return fmt.Sprintf("203.0.%d.%d:51820", i/200, i%200+1) }, 500, 50},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const seconds = 60
				m := nodetest.New(t)
				silent := map[netip.AddrPort]bool{}
				for i := range tc.peers {
					to := netip.MustParseAddrPort(tc.endpoint(i))
					silent[to] = true
					m.Invent(uint32(i), to)
				}
				node := m.Start(m.Internet().Host("192.0.2.1", "2001:db8::1"))
				m.Await(time.Minute, "made-up peers are known", func() bool { return len(node.Status().Peers) == tc.peers })
				time.Sleep(2 * time.Minute) // the first burst is over
				wire := m.Capture(func(d nodetest.Datagram) bool {
					return d.Message() == nodetest.Initiation && silent[d.Destination] && d.Source.Addr() != netip.MustParseAddr("192.0.2.2")
				})
				friend := m.Start(m.Internet().Host("192.0.2.2"))
				time.Sleep(seconds * time.Second)
				if got := len(wire.Datagrams()); got == 0 || got > tc.limit*(seconds+1) {
					t.Errorf("%d initiations in %d s, want %d per second at most", got, seconds, tc.limit)
				}
				if node.Status().InitiationsDropped == 0 {
					t.Error("status tells of none that was dropped")
				}
				if !node.Up(friend) || !friend.Up(node) || !node.Reaches(friend) {
					t.Error("a node that answers is not reached")
				}
			})
		})
	}
}
