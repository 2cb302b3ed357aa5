package nodetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// A host gets another address. The session goes on from there: no handshake, no
// moment at which the peer is down.
func TestHostMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		initiations := m.Capture(nodetest.Messages(nodetest.Initiation))
		b.Move("198.51.100.7")
		if !b.Reaches(a) || !a.Reaches(b) {
			t.Fatal("the session did not follow")
		}
		if n := len(initiations.Datagrams()); n != 0 {
			t.Errorf("%d handshakes", n)
		}
		m.Await(time.Minute, "the status shows the new endpoint", func() bool {
			state, endpoint := peer(t, a, b)
			return state == "up" && endpoint == "198.51.100.7:51820"
		})
	})
}

// A gateway restarts, and forgets its mappings. The node behind it sends at least
// every 25 s (the keepalive), so that soon the other side knows the new one. Until then it
// can't reach the node, and may say so.
func TestGatewayRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		home := m.Internet().Behind(nodetest.PortRestricted, "203.0.113.1")
		a, b := m.Start(m.Internet().Host("192.0.2.1")), m.Start(home.Host("192.168.0.2"))
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
		_, before := peer(t, a, b)

		home.Rebind()
		m.Await(time.Minute, "the status shows the new endpoint", func() bool {
			state, endpoint := peer(t, a, b)
			return state == "up" && endpoint != before
		})
		if !a.Reaches(b) {
			t.Error("a does not reach b by the new mapping")
		}
	})
}
