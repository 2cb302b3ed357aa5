package nodetest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// beat is pings from one node to another, ten a second. It notes for how long none came back.
type beat struct {
	cancel context.CancelFunc
	pings  sync.WaitGroup

	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func startBeat(t *testing.T, from, to *nodetest.Node) *beat {
	const interval, patience = 100 * time.Millisecond, time.Second
	ctx, cancel := context.WithCancel(t.Context())
	b := &beat{cancel: cancel, last: time.Now()}
	address := to.Address()
	b.pings.Go(func() {
		for tick := time.NewTicker(interval); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			b.pings.Go(func() {
				limit, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if _, err := from.Ping(limit, address, 0); err == nil {
					b.came()
				}
			})
		}
	})
	return b
}

func (b *beat) came() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.longest, b.last = max(b.longest, now.Sub(b.last)), now
}

// gap returns for how long no ping came back at most, since it was asked last.
func (b *beat) gap() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	gap := max(b.longest, time.Since(b.last))
	b.longest, b.last = 0, time.Now()
	return gap
}

func (b *beat) stop() {
	b.cancel()
	b.pings.Wait()
}

// dual starts two nodes that have a path of each family.
func dual(t *testing.T, m *nodetest.Mesh) (a, b *nodetest.Node) {
	t.Helper()
	a = m.Start(m.Internet().Host("192.0.2.1", "2001:db8:1::1"))
	b = m.Start(m.Internet().Host("198.51.100.1", "2001:db8:2::1"))
	m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
	return a, b
}

// family returns the family by which a node sends to another, 4 or 6.
func family(n, other *nodetest.Node) int {
	p, _ := n.Peer(other)
	if p.Endpoint.Addr().Is4() {
		return 4
	}
	return 6
}

// cutting returns a function for Drop that cuts a family, in the directions from the nodes.
func cutting(family int, from ...*nodetest.Node) func(nodetest.Datagram) bool {
	cut := map[netip.Addr]bool{}
	for _, n := range from {
		links, _ := n.Links()
		for _, own := range links[0].Addresses {
			cut[own.Addr()] = own.Addr().Is4() == (family == 4)
		}
	}
	return func(d nodetest.Datagram) bool { return cut[d.Source.Addr()] }
}

// changes returns how often a node has changed its path to another.
func changes(t *testing.T, n, other *nodetest.Node) int {
	t.Helper()
	p, ok := n.Peer(other)
	if !ok || p.Path == nil {
		t.Fatalf("%s knows no path to %s", n.Name, other.Name)
	}
	return p.Path.Changes
}

// The path in use is cut, in both directions or in one of them, and there is another one.
// Packets pass again within 6 s under traffic, and within 35 s without. When the path is back,
// nothing is lost.
func TestPathCut(t *testing.T) {
	if raced {
		t.Skip("measured without the race detector")
	}
	for _, tc := range []struct {
		name    string
		traffic bool
		limit   time.Duration
		rounds  int
	}{
		{"traffic", true, 6 * time.Second, 20},
		{"idle", false, 35 * time.Second, 10},
	} {
		for _, direction := range []string{"both", "there", "back"} {
			t.Run(tc.name+" "+direction, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := nodetest.New(t)
					a, b := dual(t, m)
					cut := map[string][]*nodetest.Node{"both": {a, b}, "there": {a}, "back": {b}}[direction]
					var worst, sum time.Duration
					for range tc.rounds {
						time.Sleep(2*time.Minute + rand.N(30*time.Second))
						took := pathCut(t, m, a, b, cut, tc.traffic, tc.limit)
						worst, sum = max(worst, took), sum+took
					}
					t.Logf("%d cuts: %v on average, %v at most", tc.rounds, (sum / time.Duration(tc.rounds)).Round(time.Millisecond), worst)
				})
			})
		}
	}
}

// pathCut cuts the path once and returns for how long nothing passed.
func pathCut(t *testing.T, m *nodetest.Mesh, a, b *nodetest.Node, from []*nodetest.Node, traffic bool, limit time.Duration) time.Duration {
	t.Helper()
	was := family(a, b)
	start := time.Now()
	var took time.Duration
	if traffic {
		f := startBeat(t, a, b)
		defer f.stop()
		time.Sleep(5 * time.Second)
		f.gap()
		m.Drop(cutting(was, from...))
		time.Sleep(20 * time.Second)
		took = f.gap()
		m.Drop(nil)
		time.Sleep(2 * time.Minute) // the better path is used again
		if gap := f.gap(); gap > time.Second {
			t.Errorf("nothing for %v when the path was back", gap)
		}
	} else {
		m.Drop(cutting(was, from...))
		m.Await(5*time.Minute, "pings on another path", func() bool {
			return family(a, b) != was && family(b, a) != was && a.Reaches(b) && b.Reaches(a)
		})
		took = time.Since(start)
		m.Drop(nil)
	}
	if took > limit {
		t.Errorf("nothing passed for %v when IPv%d was cut; want %v at most", took, was, limit)
	}
	return took
}

// Links with jitter, and links that lose packets, are no reason to change the path, nor is a
// peer taken for silent.
func TestBadPathsAreKept(t *testing.T) {
	for _, tc := range []struct {
		name    string
		jitter  time.Duration
		loss    float64
		traffic bool
	}{
		{"jitter", 200 * time.Millisecond, 0, false},
		{"loss of 1 %", 0, 0.01, false},
		{"loss of 1 %, traffic", 0, 0.01, true},
		{"loss of 30 %", 0, 0.3, false},
		{"loss of 30 %, traffic", 0, 0.3, true},
		{"loss of 30 %, jitter, traffic", 100 * time.Millisecond, 0.3, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := nodetest.New(t)
				a, b := dual(t, m)
				time.Sleep(time.Minute)
				a.SetLine(nodetest.Line{Delay: nodetest.DefaultDelay, Loss: tc.loss})
				if tc.jitter > 0 {
					m.Detour(func(nodetest.Datagram) time.Duration { return rand.N(tc.jitter) })
				}
				if tc.traffic {
					defer startBeat(t, a, b).stop()
				}
				before := [2]int{changes(t, a, b), changes(t, b, a)}
				initiations := m.Capture(nodetest.Messages(nodetest.Initiation))
				for range 10 {
					time.Sleep(time.Minute)
					if !nodetest.AllUp(a, b) {
						t.Error("down")
					}
				}
				if after := [2]int{changes(t, a, b), changes(t, b, a)}; after != before {
					t.Errorf("the paths changed from %v to %v times", before, after)
				}
				t.Logf("%d initiations", len(initiations.Datagrams()))
			})
		})
	}
}

// A host gets another address each 20 s. Never is more lost than 2 s.
func TestAddressChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		there, back := startBeat(t, a, b), startBeat(t, b, a)
		defer there.stop()
		defer back.stop()
		var worst time.Duration
		for i := range 30 {
			b.Move(fmt.Sprintf("198.51.100.%d", i+1))
			time.Sleep(20 * time.Second)
			worst = max(worst, there.gap(), back.gap())
		}
		t.Logf("nothing for %v at most", worst)
		if worst > 2*time.Second {
			t.Errorf("nothing for %v", worst)
		}
	})
}

// A link is cut, the only one. When it is back, packets pass within 2 s, whether anybody has
// sent some or not, and how long it was away. The host may notice that (its address goes), or
// not.
func TestLinkReturns(t *testing.T) {
	for _, noticed := range []bool{true, false} {
		for _, traffic := range []bool{true, false} {
			for _, away := range []time.Duration{20 * time.Second, 3 * time.Minute, time.Hour} {
				t.Run(fmt.Sprintf("noticed %v traffic %v away %v", noticed, traffic, away), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						m := nodetest.New(t)
						a, b := pair(t, m)
						time.Sleep(time.Minute)
						var f *beat
						if traffic {
							f = startBeat(t, a, b)
							defer f.stop()
						}
						cut := func(now bool) {
							b.SetLine(nodetest.Line{Delay: nodetest.DefaultDelay, BlocksUDP: now})
							if now && noticed {
								b.Move()
							} else if noticed {
								b.Move("192.0.2.2")
							}
						}
						cut(true)
						time.Sleep(away)
						cut(false)
						took := linkReturned(t, m, a, b, f)
						t.Logf("used after %v", took)
						if limit := 2 * time.Second; took > limit && (noticed || away < 5*time.Minute) {
							t.Errorf("used after %v, want %v at most", took, limit)
						}
					})
				})
			}
		}
	}
}

// linkReturned returns how long it takes until packets pass.
func linkReturned(t *testing.T, m *nodetest.Mesh, a, b *nodetest.Node, f *beat) time.Duration {
	t.Helper()
	start := time.Now()
	if f != nil {
		f.gap()
		m.Await(time.Minute, "a ping passes", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.last.After(start)
		})
		return time.Since(start)
	}
	transport := m.Capture(nodetest.Messages(nodetest.Transport))
	from := map[netip.Addr]bool{}
	m.Await(time.Minute, "both send in a session", func() bool {
		pa, _ := a.Peer(b)
		pb, _ := b.Peer(a)
		for _, d := range transport.Datagrams() {
			from[d.Source.Addr()] = true
		}
		return pa.Path.Works && pb.Path.Works && len(from) > 0
	})
	took := time.Since(start)
	if !a.Reaches(b) || !b.Reaches(a) {
		t.Error("no ping passes")
	}
	return took
}
