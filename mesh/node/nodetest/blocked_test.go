package nodetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// A host's network blocks UDP. Its peers are down within a minute: keepalives come each
// 25 s, silence is noticed after 30 s, and 15 s are for trying. They are up again soon after
// UDP passes: a search that has lasted for long rests for half a minute at most.
func TestBlockedUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		time.Sleep(time.Minute)
		b.SetLine(nodetest.Line{BlocksUDP: true})
		time.Sleep(5 * time.Second)
		if !nodetest.AllUp(a, b) {
			t.Error("down before anything was missed")
		}
		time.Sleep(55 * time.Second)
		for range 10 {
			if a.Up(b) || b.Up(a) {
				t.Error("up without a datagram")
			}
			time.Sleep(time.Minute)
		}
		b.SetLine(nodetest.Line{})
		m.Await(40*time.Second, "both up again", func() bool { return nodetest.AllUp(a, b) })
		if !a.Reaches(b) {
			t.Error("a does not reach b")
		}
	})
}
