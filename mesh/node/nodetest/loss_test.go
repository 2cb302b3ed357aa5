package nodetest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// On lines that lose a fifth of the datagrams and take 100 ms, all nodes get up and
// stay up. The number of handshakes stays bounded: a node sends a peer at most one
// initiation in 5 s.
func TestLossAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		initiations := m.Capture(nodetest.Messages(nodetest.Initiation))
		nodes := make([]*nodetest.Node, 6)
		for i := range nodes {
			h := m.Internet().Host(fmt.Sprintf("192.0.2.%d", i+1))
			h.SetLine(nodetest.Line{Loss: 0.1, Delay: 50 * time.Millisecond}) // both lines of a path
			nodes[i] = m.Start(h)
		}
		m.Await(time.Hour, "all up", func() bool { return nodetest.AllUp(nodes...) })
		for range 10 {
			time.Sleep(time.Minute)
			if !nodetest.AllUp(nodes...) {
				t.Fatal("a peer went down")
			}
		}
		wantRekeyTimeout(t, initiations)
	})
}

// wantRekeyTimeout checks that no node sent a peer two initiations within 5 s.
func wantRekeyTimeout(t *testing.T, initiations *nodetest.Capture) {
	t.Helper()
	type path struct{ from, to netip.AddrPort }
	last := map[path]time.Time{}
	for _, d := range initiations.Datagrams() {
		p := path{d.Source, d.Destination}
		if before, ok := last[p]; ok && d.Sent.Sub(before) < wireguard.RekeyTimeout {
			t.Errorf("initiations from %v to %v %v apart", p.from, p.to, d.Sent.Sub(before))
		}
		last[p] = d.Sent
	}
	if len(last) == 0 {
		t.Error("no initiation was captured")
	}
}
