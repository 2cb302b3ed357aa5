package agent

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Names follow members with the next decision, and are made anew only for a change.
func TestNames(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		peer := testPeer(8)
		h.find(peer)
		own := h.agent.Status().Node
		if got := h.agent.Names().Reverse(own.Address); got != own.Nodename+".mesh" {
			t.Errorf("this node is called %q, not by its nodename %q", got, own.Nodename)
		}
		if got, ok := h.agent.Names().Lookup("node-8.mesh"); !ok || got[0] != peer.Address {
			t.Errorf("Lookup = %v, %v", got, ok)
		}
		s := h.agent.Status()
		if len(s.Peers) != 1 || len(s.Peers[0].Names) != 2 || s.Peers[0].Names[0] != "node-8.mesh" || s.Peers[0].NodeID != peer.NodeID {
			t.Errorf("status: %+v", s.Peers)
		}
		if _, err := h.agent.Explain(ExplainQuery{To: own.Address, From: "Node-8.mesh"}); err != nil {
			t.Errorf("from a peer by its name: %v", err)
		}

		before := h.agent.Names()
		time.Sleep(2 * mesh.ReconcileInterval)
		synctest.Wait()
		if h.agent.Names() != before {
			t.Error("names were made anew without a change")
		}
		peer.Nodename = "other"
		h.find(peer)
		if _, ok := h.agent.Names().Lookup("node-8.mesh"); ok {
			t.Error("the old name is still there")
		}
		if got := h.agent.Names().Reverse(peer.Address); got != "other.mesh" {
			t.Errorf("the peer is called %q", got)
		}
		h.find()
		if got := h.agent.Names().Of(peer.Address); got != nil {
			t.Errorf("a node that is gone is called %q", got)
		}
	})
}

// Before the first decision, the names are there, and empty.
func TestNamesAtFirst(t *testing.T) {
	h := newHarness(t, meshDocument)
	a, err := New(h.config)
	if err != nil {
		t.Fatal(err)
	}
	if a.Names().Domain() != "mesh" || a.Names().Reverse(netip.IPv6Loopback()) != "" {
		t.Error("names before the first decision")
	}
}
