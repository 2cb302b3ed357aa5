package nodetest_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

const site = "10.9.0.0/24"

// gateway invents a member with the site behind it.
func gateway(m *nodetest.Mesh, n uint32) *nodetest.Invented {
	g := m.Invent(n)
	g.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix(site)}
	g.Publish()
	return g
}

// siteGoes returns where a node has the site: the public key of a peer, "held", or "clear".
func siteGoes(n *nodetest.Node) string {
	for _, p := range n.Status().Peers {
		if slices.Contains(p.AllowedIPs, netip.MustParsePrefix(site)) {
			return p.PublicKey.String()
		}
	}
	for _, c := range n.Status().Conditions {
		if c.Type == mesh.ConditionNetworksHeld && strings.Contains(c.Message, site) {
			return "held"
		}
	}
	return "clear"
}

// Two gateways announce one network. It stays with the first while that is there, is held
// when that has died, and is the second's once the first has had no record for the time
// after which networks pass on.
func TestGatewayDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		n := m.Start(m.Internet().Host("192.0.2.1"))
		first := gateway(m, 7)
		m.Await(time.Minute, "the first has the network", func() bool { return siteGoes(n) == first.PublicKey.String() })
		second := gateway(m, 3)
		alive := func() { // members refresh their entries
			first.Publish()
			second.Publish()
		}
		for range 10 {
			alive()
			time.Sleep(10 * time.Minute)
			if got := siteGoes(n); got != first.PublicKey.String() {
				t.Fatalf("while both are there, the network goes to %s", got)
			}
		}
		died, held := time.Now(), false
		for siteGoes(n) != second.PublicKey.String() {
			if time.Since(died) > 3*mesh.PassOnTime {
				t.Fatal("the network does not pass on")
			}
			held = held || siteGoes(n) == "held"
			if siteGoes(n) == "clear" {
				t.Fatal("the network is in the clear")
			}
			second.Publish()
			time.Sleep(time.Minute)
		}
		if after := time.Since(died); after < mesh.PassOnTime || !held {
			t.Errorf("the network passed on after %v; held before: %v", after, held)
		}
		first.Publish()
		time.Sleep(time.Minute)
		if got := siteGoes(n); got != second.PublicKey.String() {
			t.Errorf("when the first is back, the network goes to %s", got)
		}
	})
}

// A gateway that leaves passes its network on at once; one that leaves alone ends the hold.
func TestGatewayLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		n := m.Start(m.Internet().Host("192.0.2.1"))
		first := gateway(m, 7)
		m.Await(time.Minute, "the first has the network", func() bool { return siteGoes(n) == first.PublicKey.String() })
		second := gateway(m, 3)
		time.Sleep(time.Minute)
		first.Leave()
		m.Await(10*time.Second, "the second has the network", func() bool { return siteGoes(n) == second.PublicKey.String() })
		second.Leave()
		m.Await(10*time.Second, "nobody has the network", func() bool { return siteGoes(n) == "clear" })
		if c := n.Status().Conditions; len(c) != 0 {
			t.Errorf("conditions after a planned leave: %v", c)
		}
	})
}

// A network of a node that has died is held, and no longer when the node comes back to
// leave.
func TestLateLeaveEndsTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		n := m.Start(m.Internet().Host("192.0.2.1"))
		g := gateway(m, 7)
		m.Await(time.Minute, "it has the network", func() bool { return siteGoes(n) == g.PublicKey.String() })
		m.Await(time.Hour, "it is gone, and the network held", func() bool { return siteGoes(n) == "held" })
		g.Leave()
		m.Await(10*time.Second, "the hold has ended", func() bool { return siteGoes(n) == "clear" })
	})
}

// A node that leaves by itself is gone everywhere at once, and nothing of it is held.
func TestPlannedLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := m.Boot(m.Member(), m.Internet().Host("192.0.2.1")), m.Boot(m.Member(), m.Internet().Host("192.0.2.2"))
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
		if err := b.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Await(5*time.Second, "it is no peer", func() bool { return len(a.Status().Peers) == 0 })
		time.Sleep(time.Minute)
		if c := a.Status().Conditions; len(c) != 0 {
			t.Errorf("conditions after a planned leave: %v", c)
		}
		back := m.Boot(b.Box, b.Host)
		m.Await(time.Minute, "it is back", func() bool { return nodetest.AllUp(a, back) })
	})
}
