package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// A node is quarantined until its pin is gone, and pinned anew then.
func TestPinHeldAndAccepted(t *testing.T) {
	in := testInput()
	peer := testPeer("n1", "11")
	in.Affiliates = []Affiliate{peer}
	in.Pins = Decide(in, testNow).Pins
	in.Affiliates[0].PublicKey = testKey("another")
	plan := Decide(in, testNow.Add(time.Hour))
	if len(plan.Peers) != 0 || len(plan.Members) != 1 || len(plan.Conditions) != 1 || plan.Conditions[0].Type != ConditionIdentityChanged {
		t.Errorf("with another key: peers %v, members %v, conditions %v", plan.Peers, plan.Members, plan.Conditions)
	}
	if len(plan.Pins) != 1 || plan.Pins[0] != in.Pins[0] {
		t.Errorf("pins %v, want %v", plan.Pins, in.Pins)
	}
	if _, err := Accept(in.Pins, in.Affiliates, "n2"); err == nil {
		t.Error("a node was accepted that is not quarantined")
	}
	var err error
	if in.Pins, err = Accept(in.Pins, in.Affiliates, peer.Nodename); err != nil {
		t.Fatal(err)
	}
	plan = Decide(in, testNow.Add(time.Hour))
	if len(plan.Peers) != 1 || len(plan.Conditions) != 0 || plan.Pins[0].PublicKey != in.Affiliates[0].PublicKey {
		t.Errorf("accepted: peers %v, pins %v, conditions %v", plan.Peers, plan.Pins, plan.Conditions)
	}
}

// What a quarantined node has stays in the tunnel, as far as nobody else has
// it, and as it would if the node were down.
func TestHeldNetworks(t *testing.T) {
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

func TestPinsAge(t *testing.T) {
	in := testInput()
	in.Affiliates = []Affiliate{testPeer("n1", "11")}
	in.Pins = Decide(in, testNow).Pins
	if got := Decide(in, testNow.Add(pinStep-time.Second)).Pins[0].LastSeen; got != testNow {
		t.Errorf("last seen %v within a day, want unchanged", got)
	}
	if got, want := Decide(in, testNow.Add(pinStep)).Pins[0].LastSeen, testNow.Add(pinStep); got != want {
		t.Errorf("last seen %v after a day, want %v", got, want)
	}
	in.Affiliates = nil
	if got := Decide(in, testNow.Add(pinLifetime-time.Second)).Pins; len(got) != 1 {
		t.Errorf("pins %v before the lifetime's end", got)
	}
	if got := Decide(in, testNow.Add(pinLifetime)).Pins; len(got) != 0 {
		t.Errorf("pins %v after it", got)
	}
}

// Made-up nodes don't push out the pins of those that were there before.
func TestPinsFlood(t *testing.T) {
	in := testInput()
	in.Affiliates = []Affiliate{testPeer("zz", "11")}
	in.Pins = Decide(in, testNow).Pins
	in.Affiliates = nil
	for i := range maxPins {
		in.Affiliates = append(in.Affiliates, Affiliate{NodeID: fmt.Sprintf("n%d", i), PublicKey: testKey(fmt.Sprint(i))})
	}
	pins := Decide(in, testNow.Add(time.Hour)).Pins
	if len(pins) != maxPins || pins[len(pins)-1].NodeID != "zz" {
		t.Errorf("%d pins, the last of %s", len(pins), pins[len(pins)-1].NodeID)
	}
}

func TestAcceptByName(t *testing.T) {
	pins := []Pin{{NodeID: "n1", PublicKey: testKey("a")}, {NodeID: "n2", PublicKey: testKey("b")}}
	twins := []Affiliate{{NodeID: "n2", Nodename: "web", PublicKey: testKey("c")}, {NodeID: "n1", Nodename: "web", PublicKey: testKey("d")}}
	if _, err := Accept(pins, twins, "web"); err == nil || !strings.Contains(err.Error(), "n1, n2") {
		t.Errorf("one name for two nodes: %v", err)
	}
	if left, err := Accept(pins, twins, "n2"); err != nil || len(left) != 1 || left[0].NodeID != "n1" {
		t.Errorf("by node id: %v, %v", left, err)
	}
}
