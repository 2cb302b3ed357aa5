package nodetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// Two nodes initiate within one round trip. Each answers the other's initiation, takes
// itself for the responder from then on, and drops the response to its own. WireGuard
// alone then waits for 5 s at least, and may cross again. The node with the smaller key
// starts another handshake as soon as it sees that.
func TestCrossedInitiations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		initiations := m.Capture(nodetest.Messages(nodetest.Initiation))
		a, b := m.Internet().Host("192.0.2.1"), m.Internet().Host("192.0.2.2")
		for _, h := range []*nodetest.Host{a, b} { // a hears of b before b's initiation is there
			h.SetLine(nodetest.Line{Delay: nodetest.HubDelay/2 + 5*time.Millisecond})
		}
		first, second := m.Start(a), m.Start(b)
		start := time.Now()
		m.Await(time.Hour, "both up", func() bool { return nodetest.AllUp(first, second) })
		took := time.Since(start)
		t.Logf("up after %v and %d initiations", took, len(initiations.Datagrams()))
		if limit := 2*nodetest.HubDelay + 2*(nodetest.HubDelay+10*time.Millisecond) + 300*time.Millisecond; took > limit {
			t.Errorf("up after %v, want %v at most", took, limit)
		}
	})
}
