package mesh

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// device is a static peer that is no node, as package config reads it.
func device(name, networks string) Affiliate {
	return Affiliate{NodeID: NodeIDOfKey(testKey(name)), Nodename: name, PublicKey: testKey(name), AdditionalAddresses: prefixes(networks), Static: true}
}

func conditionsOf(plan Plan, typ ConditionType) (n int) {
	for _, c := range plan.Conditions {
		if c.Type == typ {
			n++
		}
	}
	return n
}

func peerOf(plan Plan, key Key) PeerSpec {
	i := slices.IndexFunc(plan.Specs, func(s PeerSpec) bool { return s.PublicKey == key })
	if i < 0 {
		return PeerSpec{}
	}
	return plan.Specs[i]
}

// A mesh whose nodes sign takes a static peer without a signature, and nothing else.
func TestStaticPeersNeedNoSignature(t *testing.T) {
	tr := newTrial(t)
	tr.in.Config.RequireSigned = true
	router, forged := device("router", "10.7.0.0/16"), device("forged", "10.8.0.0/16")
	forged.Static = false
	plan := tr.decide(0, router, forged)
	if s := peerOf(plan, router.PublicKey); s.Name != "router" || s.Address.IsValid() || !slices.Equal(s.AllowedIPs, prefixes("10.7.0.0/16")) {
		t.Errorf("the static peer is %+v", s)
	}
	if peerOf(plan, forged.PublicKey).NodeID != "" || conditionsOf(plan, ConditionUnsigned) != 1 {
		t.Errorf("the forged one is a peer: %+v", plan.Conditions)
	}
	if n := conditionsOf(plan, ConditionAddressUnusable); n != 0 {
		t.Errorf("a device without a mesh address has %d conditions about it", n)
	}
	if p := plan.Peers; len(p) != 1 || p[0].PresharedKey != tr.in.Config.ClusterSecret {
		t.Errorf("peers %+v", p)
	}
}

// What the administrator removes is gone at once, whatever session it has. A file that
// can't be read removes nothing.
func TestStaticPeerIsRemoved(t *testing.T) {
	tr := newTrial(t)
	tr.in.Config.RequireSigned, tr.in.Config.ForceRouting, tr.in.Config.HoldNetworks = true, true, time.Hour
	router := device("router", "10.7.0.0/16")
	tr.decide(0, router)
	tr.handshake(router, "192.0.2.7:51820")
	tr.in.StaticUnknown = true
	if plan := tr.decide(time.Second); peerOf(plan, router.PublicKey).NodeID == "" {
		t.Error("a file that can't be read ended a session")
	}
	tr.in.StaticUnknown = false
	renewed := device("new key", "10.7.0.0/16")
	renewed.Nodename = "router"
	plan := tr.decide(time.Second, renewed)
	if len(plan.Specs) != 1 || len(plan.Held) != 0 {
		t.Errorf("specs %+v, held %+v", plan.Specs, plan.Held)
	}
	if s := peerOf(plan, renewed.PublicKey); s.Name != "router" || !slices.Equal(s.AllowedIPs, prefixes("10.7.0.0/16")) {
		t.Errorf("with a new key it is %+v", s)
	}
	plan = tr.decide(time.Second)
	if len(plan.Specs) != 0 || len(plan.Held) != 0 || slices.ContainsFunc(plan.Pins, func(p Pin) bool { return p.NodeID == renewed.NodeID }) {
		t.Errorf("specs %+v, held %+v, pins %+v", plan.Specs, plan.Held, plan.Pins)
	}
}

// A static peer has neither the id nor the address of a node that signs.
func TestStaticPeerTakesNothingOver(t *testing.T) {
	tr := newTrial(t)
	tr.in.Config.RequireSigned = true
	node := realPeer("node", "11", 1)
	node.Address = DerivedAddress(testSubnet, node.NodeID)
	tr.decide(0, node)

	same := Affiliate{NodeID: node.NodeID, PublicKey: node.PublicKey, Address: node.Address, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}, Static: true}
	if plan := tr.decide(time.Second, same); len(peerOf(plan, node.PublicKey).Endpoints) != 1 || len(plan.Conditions) != 0 {
		t.Errorf("with its own key: %+v, %+v", plan.Specs, plan.Conditions)
	}
	other := same
	other.PublicKey = testKey("other")
	if plan := tr.decide(time.Second, other); peerOf(plan, other.PublicKey).NodeID != "" || conditionsOf(plan, ConditionStaticRefused) != 1 {
		t.Errorf("with another key: %+v, %+v", plan.Specs, plan.Conditions)
	}
	thief := device("thief", "10.9.0.0/16")
	thief.Address = node.Address
	plan := tr.decide(time.Second, node, thief)
	if peerOf(plan, thief.PublicKey).Address.IsValid() || peerOf(plan, node.PublicKey).Address != node.Address || conditionsOf(plan, ConditionDuplicateAddress) != 1 {
		t.Errorf("with its address: %+v, %+v", plan.Specs, plan.Conditions)
	}
}

// Where nodes do not sign, the administrator's word on a key counts, and a change needs no
// accept.
func TestStaticPeerChangesItsKey(t *testing.T) {
	tr := newTrial(t)
	before := testPeer("talos", "11")
	tr.decide(0, before)
	after := before
	after.PublicKey, after.Static = testKey("after"), true
	if plan := tr.decide(time.Second, after); peerOf(plan, after.PublicKey).NodeID != "talos" || conditionsOf(plan, ConditionIdentityChanged) != 0 {
		t.Errorf("%+v, %+v", plan.Specs, plan.Conditions)
	}
}

// A device can't say which secret of the mesh it has: no change waits for it.
func TestChangeOfTheSecretWaitsForNoDevice(t *testing.T) {
	tr := newTrial(t)
	router := device("router", "10.7.0.0/16")
	tr.in.Config.Charter = Charter{SecretNumber: 2, Next: NewSecret([32]byte{2})}
	tr.decide(0, router)
	tr.handshake(router, "192.0.2.7:51820")
	if plan := tr.decide(time.Second, router); len(plan.Waiting) != 0 {
		t.Errorf("waiting for %v", plan.Waiting)
	}
}
