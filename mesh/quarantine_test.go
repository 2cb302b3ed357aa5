package mesh

import (
	"net/netip"
	"slices"
	"testing"
)

// The networks of a quarantined node that no other node has stay in the tunnel, as
// if the node were down.
func TestQuarantinedNetworks(t *testing.T) {
	in := testInput()
	in.Config.ForceRouting = true
	in.Config.ExcludeAdvertisedNetworks = prefixes("10.4.0.0/16")
	in.Config.AllowedNetworks = []Allowance{{"exit", netip.MustParsePrefix("0.0.0.0/0")}}
	peer, other, exit := testPeer("n1", "11"), testPeer("n2", "12"), testPeer("exit", "13")
	peer.AdditionalAddresses = prefixes("10.1.0.0/16 10.2.0.0/16 10.4.0.0/16 192.0.2.0/24 0.0.0.0/0")
	other.AdditionalAddresses = prefixes("10.2.0.0/17")
	in.Affiliates = []Affiliate{peer, other, exit}
	in.Pins = Decide(in, testNow).Pins
	in.Affiliates[0].PublicKey = testKey("another")
	plan := Decide(in, testNow)
	within := func(p string) bool {
		return slices.ContainsFunc(plan.Routed, func(r netip.Prefix) bool { return r.Overlaps(netip.MustParsePrefix(p)) })
	}
	for p, want := range map[string]bool{
		"10.1.0.0/16": true, "10.2.0.0/17": true, "10.2.128.0/17": true, "192.0.2.2/32": true,
		"10.4.0.0/16": false, "192.0.2.1/32": false, "203.0.113.0/24": false, testSubnet.String(): false,
	} {
		if within(p) != want {
			t.Errorf("%s: routed %t, want %t", p, within(p), want)
		}
	}
	if len(plan.Peers) != 2 {
		t.Errorf("peers %v", plan.Peers)
	}
	in.Affiliates[0] = peer
	in.Affiliates[2].AdditionalAddresses, in.Affiliates[2].PublicKey = prefixes("0.0.0.0/0"), testKey("another")
	if plan = Decide(in, testNow); !within("203.0.113.0/24") {
		t.Error("the exit node is quarantined, and what went by it goes past the tunnel")
	}
	in.Config.ForceRouting = false
	if plan = Decide(in, testNow); within("203.0.113.0/24") {
		t.Error("peers that are down are passed by, and one that is quarantined is not")
	}
}
