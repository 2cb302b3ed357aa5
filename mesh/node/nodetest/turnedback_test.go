package nodetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// The clock of a box was ahead by years, and is right when the box starts again: its peer
// refuses the handshakes that the box starts, for they seem to be old ones. The peer notices
// within half a minute that the session is gone. From the handshake that it starts then, the
// two reach each other without a gap, whichever has the smaller key.
func TestClockTurnedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		boxes := [...]nodetest.Box{m.Box(), m.Box()}
		hosts := [...]*nodetest.Host{m.Internet().Host("192.0.2.1"), m.Internet().Host("192.0.2.2")}
		nodes := [...]*nodetest.Node{m.Boot(boxes[0], hosts[0]), m.Boot(boxes[1], hosts[1])}
		for i := range nodes {
			peer, own := nodes[1-i], hosts[i].Public()
			m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(nodes[0], nodes[1]) })
			nodes[i].Stop()
			m.Drop(func(d nodetest.Datagram) bool { return d.Message() == nodetest.Initiation && d.Source.Addr() == own })
			nodes[i] = m.Boot(boxes[i], hosts[i])
			beat := startBeat(t, nodes[i], peer)
			time.Sleep(45 * time.Second)
			if gap := beat.gap(); gap > 35*time.Second {
				t.Errorf("box %d was reached after %v", i, gap)
			}
			time.Sleep(time.Minute)
			if gap := beat.gap(); gap > time.Second {
				t.Errorf("box %d was not reached for %v after that", i, gap)
			}
			beat.stop()
			m.Drop(nil)
		}
	})
}
