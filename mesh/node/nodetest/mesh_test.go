package nodetest_test

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// pair starts two nodes with public addresses, and returns when both are up.
func pair(t *testing.T, m *nodetest.Mesh) (a, b *nodetest.Node) {
	t.Helper()
	a, b = m.Start(m.Internet().Host("192.0.2.1")), m.Start(m.Internet().Host("192.0.2.2"))
	m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
	return a, b
}

// peer returns how a node sees another. The test fails if that is no peer.
func peer(t *testing.T, n, other *nodetest.Node) (state, endpoint string) {
	t.Helper()
	p, ok := n.Peer(other)
	if !ok {
		t.Fatalf("%s is no peer of %s", other.Name, n.Name)
	}
	return p.State.String(), p.Endpoint.String()
}

// Peers that are garbage would end the process: see keep.go.
func TestPeersAreNotCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		if err := b.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Await(time.Minute, "the peer is removed", func() bool { return len(a.Status().Peers) == 0 })
		time.Sleep(time.Hour) // long enough for all of the peer's timers
		for range 3 {
			runtime.GC()
		}
	})
}
