package nodetest_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
