package nodetest_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// Kinds of candidates that are dead.
const (
	dropped  = "drop"
	rejected = "reject"    // this host refuses to send there
	wrongKey = "wrong key" // another node is there
	oneWay   = "one-way"   // the peer gets what is sent there, sooner than by the live one; its replies are lost
)

// reach is two nodes that start at the same instant and have, beside the address at which the
// other one is, a number of dead ones.
type reach struct {
	strategy string
	kind     string
	dead     int
	live     int           // its place in the list
	delay    time.Duration // of the live path, one way
}

// The hosts' addresses are in different subnets, so that all candidates have the same rank.
const (
	reachA, reachB, reachDead = "192.0.2.", "198.51.100.", "203.0.113."
	liveHost, firstDead       = 1, 10
)

// run returns when each side had its first handshake.
func (r reach) run(t *testing.T) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		ha, hb := r.host(m, reachA), r.host(m, reachB)
		if r.kind == wrongKey {
			other := []string{reachDead + "1"}
			for i := range r.dead {
				other = append(other, fmt.Sprint(reachDead, firstDead+i))
			}
			m.Start(m.Internet().Host(other...))
		}
		dead := func(a netip.Addr) bool { return a.As4()[3] >= firstDead }
		m.Detour(func(d nodetest.Datagram) time.Duration {
			if dead(d.Destination.Addr()) {
				return 0
			}
			return r.delay / 2
		})
		a, b := m.Box(), m.Box()
		a.Settings, b.Settings = r.settings(b.Name, reachB), r.settings(a.Name, reachA)
		m.Drop(func(nodetest.Datagram) bool { return true }) // they get to know each other, no more
		for _, n := range []*nodetest.Node{m.Boot(a, ha), m.Boot(b, hb)} {
			defer n.Stop()
			time.Sleep(time.Second)
			n.Stop()
		}
		m.Drop(func(d nodetest.Datagram) bool { return r.kind == oneWay && dead(d.Source.Addr()) })
		start := time.Now()
		na, nb := m.Boot(a, ha), m.Boot(b, hb)
		m.AwaitExactly(time.Hour, "both have a handshake", func() bool {
			pa, _ := na.Peer(nb)
			pb, _ := nb.Peer(na)
			if pa.LastHandshake.IsZero() || pb.LastHandshake.IsZero() {
				return false
			}
			took = max(pa.LastHandshake.Sub(start), pb.LastHandshake.Sub(start))
			return true
		})
	})
	return took
}

func (r reach) host(m *nodetest.Mesh, subnet string) *nodetest.Host {
	own := []string{fmt.Sprint(subnet, liveHost)}
	if r.kind == oneWay {
		for i := range r.dead {
			own = append(own, fmt.Sprint(subnet, firstDead+i))
		}
	}
	h := m.Internet().Host(own...)
	h.SetLine(nodetest.Line{Delay: r.delay / 4})
	if r.kind == rejected {
		h.Refuse(func(to netip.AddrPort) error {
			if strings.HasPrefix(to.String(), reachDead) {
				return unix.EHOSTUNREACH
			}
			return nil
		})
	}
	return h
}

// settings lists the candidates of a peer.
func (r reach) settings(peer, subnet string) string {
	dead := reachDead
	if r.kind == oneWay {
		dead = subnet
	}
	var list []string
	for i := range r.dead + 1 {
		switch {
		case i == r.live:
			list = append(list, fmt.Sprintf("%s=%s%d:51820", peer, subnet, liveHost))
		case i < r.live:
			list = append(list, fmt.Sprintf("%s=%s%d:51820", peer, dead, firstDead+i))
		default:
			list = append(list, fmt.Sprintf("%s=%s%d:51820", peer, dead, firstDead+i-1))
		}
	}
	return fmt.Sprintf("endpointStrategy: %s\npeerEndpoints: [%s]\n", r.strategy, strings.Join(list, ", "))
}

// A peer has one candidate that lives and up to twenty that do not. Its first handshake is
// done in two round trips and 300 ms, wherever the live one is in the list, also when both
// sides start at the same instant. Paths without a way back take longer than that, but not
// longer than trying one after another.
func TestFirstHandshake(t *testing.T) {
	if raced {
		t.Skip("measured without the race detector")
	}
	const agents = 20 * time.Millisecond // what the agents need
	delays := []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond}
	t.Logf("%-10s %4s %5s %10s %10s %10s %10s", "kind", "dead", "live", "0 ms", "50 ms", "300 ms", "cycle 50 ms")
	for _, kind := range []string{dropped, rejected, wrongKey, oneWay} {
		for _, dead := range []int{0, 20} {
			places := []int{0, dead / 2, dead}
			if dead < 2 {
				places = []int{0, dead}[:dead+1]
			}
			for _, live := range places {
				if dead == 0 && kind != dropped {
					continue
				}
				line := fmt.Sprintf("%-10s %4d %5d", kind, dead, live)
				var cycled time.Duration // 0: not tried
				if kind == dropped || kind == oneWay {
					cycled = reach{"cycle", kind, dead, live, delays[1]}.run(t)
				}
				for _, delay := range delays {
					took := reach{"race", kind, dead, live, delay}.run(t)
					line += fmt.Sprintf(" %10v", took.Round(time.Millisecond))
					limit := 4*delay + 300*time.Millisecond + agents
					if kind == oneWay {
						limit = max(limit, cycled)
					}
					if took > limit {
						t.Errorf("%s: %v with %d dead candidates, the live one at %d, %v one way; want %v at most", kind, took, dead, live, delay, limit)
					}
				}
				t.Logf("%s %10v", line, cycled.Round(time.Millisecond))
			}
		}
	}
}
