package nodetest_test

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// Two dozen nodes, a third of them with IPv6 as well, find each other, and each
// reaches all others. Nothing but WireGuard is on the wire, with no mesh address in
// the clear.
func TestManyNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		wire := m.Capture(nil)
		nodes := make([]*nodetest.Node, 24)
		for i := range nodes {
			addresses := []string{fmt.Sprintf("192.0.2.%d", i+1)}
			if i%3 == 0 {
				addresses = append(addresses, fmt.Sprintf("2001:db8::%x", i+1))
			}
			nodes[i] = m.Start(m.Internet().Host(addresses...))
		}
		m.Await(10*time.Minute, "all up", func() bool { return nodetest.AllUp(nodes...) })

		var pings sync.WaitGroup
		var lost atomic.Int32
		for _, n := range nodes {
			pings.Go(func() {
				for _, other := range nodes {
					if n != other && !n.Reaches(other) {
						lost.Add(1)
					}
				}
			})
		}
		pings.Wait()
		if lost.Load() != 0 {
			t.Errorf("%d pings were lost", lost.Load())
		}
		for _, d := range wire.Datagrams() {
			if d.Message() == nodetest.Other && len(d.Payload) > 0 { // empty ones open NATs
				t.Errorf("not WireGuard: %v", d)
			}
			for _, n := range nodes {
				if bytes.Contains(d.Payload, n.Address().AsSlice()) {
					t.Errorf("a mesh address in the clear: %v", d)
				}
			}
		}
	})
}

// longMeshes is the variable with which meshes of 100 and 200 nodes run, too. They take half
// an hour (-timeout 1h), and gigabytes.
const longMeshes = "WIRESPAN_LONG_MESHES"

// Nodes harvest, and every fourth is behind a NAT of its own. All pairs get up, and a node
// sends as many updates to discovery in a large mesh as in a small one.
func TestGrowth(t *testing.T) {
	if raced {
		t.Skip("measured without the race detector")
	}
	sizes := []int{25, 50}
	if os.Getenv(longMeshes) != "" {
		sizes = []int{25, 50, 100, 200}
	}
	for _, size := range sizes {
		synctest.Test(t, func(t *testing.T) {
			const limit = 12 // updates of a node in its first minutes
			m := nodetest.New(t)
			began := time.Now()
			nodes := make([]*nodetest.Node, size)
			for i := range nodes {
				network, address := m.Internet(), fmt.Sprintf("192.0.2.%d", i+1)
				if i%4 == 0 {
					network, address = network.Behind(nodetest.PortRestricted, fmt.Sprintf("203.0.113.%d", i+1)), "192.168.0.2"
				}
				nodes[i] = m.Start(network.Host(address), nodetest.Harvest)
			}
			m.Await(10*time.Minute, "all pairs up", func() bool { return nodetest.AllUp(nodes...) })
			up, first := time.Since(began), m.Hub.Updates()
			before := processTime(t)
			time.Sleep(5 * time.Minute)
			idle, later := processTime(t)-before, m.Hub.Updates()-first
			each := func(n int) float64 { return float64(n) / float64(size) }
			t.Logf("%3d nodes: all pairs up after %v; updates per node: %.1f until then, %.1f in the next 5 min, in which a node takes %v of a core",
				size, up.Round(time.Millisecond), each(first), each(later), (idle / time.Duration(size)).Round(time.Millisecond))
			if each(first+later) > limit {
				t.Errorf("%d nodes: %.1f updates per node, want %d at most", size, each(first+later), limit)
			}
			if !nodetest.AllUp(nodes...) {
				t.Errorf("%d nodes: a pair is down", size)
			}
		})
	}
}

// processTime returns the CPU time that this process has used.
func processTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
