package nodetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// A member crashes. Its entry expires half an hour after it was last refreshed, and
// with it the peer.
func TestCrashedMemberExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		time.Sleep(20 * time.Minute) // b refreshes after 15
		b.Stop()
		time.Sleep(24 * time.Minute)
		if state, _ := peer(t, a, b); state != "down" {
			t.Errorf("the crashed member is %s", state)
		}
		m.Await(2*time.Minute, "the entry has expired", func() bool {
			_, there := a.Peer(b)
			return !there
		})
	})
}

// Without discovery for an hour, twice the life of its entries, members stay up.
// When it is back it has forgotten all; the members tell it again. The entry of one
// that crashed meanwhile ages at the others, and goes.
func TestDiscoveryAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		crashed := m.Start(m.Internet().Host("192.0.2.3"))
		m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(a, b, crashed) })

		m.Hub.SetAway(true)
		crashed.Stop()
		for range 60 {
			time.Sleep(time.Minute)
			if !nodetest.AllUp(a, b) {
				t.Fatal("a member went down")
			}
		}
		if !a.Reaches(b) {
			t.Error("a does not reach b")
		}

		m.Hub.SetAway(false)
		time.Sleep(discovery.MaxTTL - time.Minute)
		if !nodetest.AllUp(a, b) {
			t.Error("a member went down when discovery came back")
		}
		if state, _ := peer(t, a, crashed); state != "down" {
			t.Errorf("the crashed member is %s", state)
		}
		m.Await(2*time.Minute, "the crashed member has aged", func() bool {
			_, there := a.Peer(crashed)
			return !there
		})
		if !nodetest.AllUp(a, b) {
			t.Error("a member went with the crashed one")
		}
	})
}
