package nodetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// A host's network blocks UDP. Its peers are up until the last handshake is 275 s
// old, then down, and up again soon after UDP passes.
func TestBlockedUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		b.SetLine(nodetest.Line{BlocksUDP: true})
		_, _, handshake := peer(t, a, b)
		time.Sleep(time.Until(handshake.Add(mesh.PeerDownInterval - time.Second)))
		if !nodetest.AllUp(a, b) {
			t.Error("down before the interval has passed")
		}
		time.Sleep(2 * time.Second)
		if a.Up(b) || b.Up(a) {
			t.Error("up although the last handshake is too old")
		}
		for range 10 {
			time.Sleep(time.Minute)
			if a.Up(b) || b.Up(a) {
				t.Error("up without a datagram")
			}
		}
		initiations := m.Capture(nodetest.Messages(nodetest.Initiation))
		b.SetLine(nodetest.Line{})
		m.Await(10*time.Minute, "both up again", func() bool { return nodetest.AllUp(a, b) })
		wantRekeyTimeout(t, initiations)
		if !a.Reaches(b) {
			t.Error("a does not reach b")
		}
	})
}
