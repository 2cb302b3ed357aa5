package nodetest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// On lines that lose a fifth of the datagrams and take 100 ms, all nodes get up and stay
// up. The number of initiations stays bounded: a node renews a session each 2 minutes, and
// then repeats what was lost.
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
		if n := len(initiations.Datagrams()); n > 15*10*10 {
			t.Errorf("%d initiations of 15 pairs in 10 minutes", n)
		}
	})
}
