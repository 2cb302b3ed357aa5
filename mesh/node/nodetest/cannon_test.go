package nodetest_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

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
		"at a host for each one": {func(i int) string { return fmt.Sprintf("203.0.%d.%d:51820", i/200, i%200+1) }, 770, 50},
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
				before := cpu()
				time.Sleep(seconds * time.Second)
				t.Logf("%d silent peers cost %.1f %% of a core", tc.peers, 100*(cpu()-before).Seconds()/seconds)
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

// Discovery is hostile: many members have as many endpoints as one may have, all dead, at one
// victim or at many. When the first races are over, none of them gets more than one
// initiation in 5 s, and all together no more than 20 datagrams in a second.
func TestHostileFeed(t *testing.T) {
	if raced {
		t.Skip("measured without the race detector")
	}
	const members, endpoints, second = 24, 64, time.Second
	for name, at := range map[string]func(member, i int) string{
		"one victim":         func(member, i int) string { return fmt.Sprintf("203.0.113.1:%d", 1000+member*endpoints+i) },
		"one port, many":     func(member, i int) string { return fmt.Sprintf("203.0.%d.%d:51820", member+1, i+1) },
		"one subnet of IPv6": func(member, i int) string { return fmt.Sprintf("[2001:db8:5::%x:%x]:51820", member+1, i+1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := nodetest.New(t)
				for member := range members {
					var list []netip.AddrPort
					for i := range endpoints {
						list = append(list, netip.MustParseAddrPort(at(member, i)))
					}
					m.Invent(uint32(member)).Seen(list...)
				}
				own := netip.MustParseAddr("192.0.2.1")
				outward := func(d nodetest.Datagram) bool { return d.Destination.Addr() != netip.MustParseAddr("192.0.2.2") }
				all := m.Capture(outward)
				node, friend := m.Start(m.Internet().Host(own.String(), "2001:db8::1")), m.Start(m.Internet().Host("192.0.2.2"))
				m.Await(time.Minute, "the members are known", func() bool { return len(node.Status().Peers) == members+1 })
				m.Await(time.Minute, "the friend is reached", func() bool { return nodetest.AllUp(node, friend) })
				time.Sleep(2 * time.Minute) // the first races are over
				first := len(all.Datagrams())
				late := m.Capture(func(d nodetest.Datagram) bool {
					return outward(d) && d.Source.Addr() != netip.MustParseAddr("192.0.2.2")
				})
				time.Sleep(5 * time.Minute)
				datagrams := late.Datagrams()
				t.Logf("%d datagrams in the first 2 min, then %.1f per second", first, float64(len(datagrams))/300)
				if len(datagrams) == 0 {
					t.Error("nothing is tried any more")
				}
				last := map[netip.AddrPort]time.Time{}
				var window []time.Time
				for _, d := range datagrams {
					if ago := d.Sent.Sub(last[d.Destination]); ago < 5*second {
						t.Fatalf("%v got another datagram after %v", d.Destination, ago)
					}
					last[d.Destination] = d.Sent
					window = append(slices.DeleteFunc(window, func(s time.Time) bool { return d.Sent.Sub(s) >= second }), d.Sent)
					if len(window) > 2*20 { // a burst, and what a second brings
						t.Fatalf("%d datagrams in a second", len(window))
					}
				}
				if len(datagrams) > 20*300+20 {
					t.Errorf("%d datagrams in 5 min, want 20 per second at most", len(datagrams))
				}
				if !node.Up(friend) || !node.Reaches(friend) {
					t.Error("a node that answers is not reached")
				}
			})
		})
	}
}

// cpu returns the processor time of this process.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // the arguments are valid
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
