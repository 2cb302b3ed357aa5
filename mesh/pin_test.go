package mesh

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A node is quarantined until its pin is removed; then it is pinned anew.
func TestPinQuarantineAndAccept(t *testing.T) {
	in := testInput()
	peer := testPeer("n1", "11")
	in.Affiliates = []Affiliate{peer}
	in.Pins = othersOf(Decide(in, testNow).Pins)
	in.Affiliates[0].PublicKey = testKey("another")
	plan := Decide(in, testNow.Add(time.Hour))
	if len(plan.Peers) != 0 || len(plan.Members) != 1 || len(plan.Conditions) != 1 || plan.Conditions[0].Type != ConditionIdentityChanged {
		t.Errorf("with another key: peers %v, members %v, conditions %v", plan.Peers, plan.Members, plan.Conditions)
	}
	if !reflect.DeepEqual(othersOf(plan.Pins), in.Pins) {
		t.Errorf("pins %v, want %v", plan.Pins, in.Pins)
	}
	if _, _, err := Accept(in.Pins, in.Affiliates, "n2"); err == nil {
		t.Error("a node was accepted that is not quarantined")
	}
	var err error
	if in.Pins, _, err = Accept(in.Pins, in.Affiliates, peer.Nodename); err != nil {
		t.Fatal(err)
	}
	plan = Decide(in, testNow.Add(time.Hour))
	if len(plan.Peers) != 1 || len(plan.Conditions) != 0 || othersOf(plan.Pins)[0].PublicKey != in.Affiliates[0].PublicKey {
		t.Errorf("accepted: peers %v, pins %v, conditions %v", plan.Peers, plan.Pins, plan.Conditions)
	}
}

func TestPinsAge(t *testing.T) {
	in := testInput()
	in.Affiliates = []Affiliate{testPeer("n1", "11")}
	in.Pins = othersOf(Decide(in, testNow).Pins)
	if got := othersOf(Decide(in, testNow.Add(pinStep-time.Second)).Pins)[0].LastSeen; got != testNow {
		t.Errorf("last seen %v within a day, want unchanged", got)
	}
	if got, want := othersOf(Decide(in, testNow.Add(pinStep)).Pins)[0].LastSeen, testNow.Add(pinStep); got != want {
		t.Errorf("last seen %v after a day, want %v", got, want)
	}
	in.Affiliates = nil
	if got := othersOf(Decide(in, testNow.Add(pinLifetime-time.Second)).Pins); len(got) != 1 {
		t.Errorf("pins %v before the lifetime's end", got)
	}
	if got := othersOf(Decide(in, testNow.Add(pinLifetime)).Pins); len(got) != 0 {
		t.Errorf("pins %v after it", got)
	}
}

// Made-up nodes don't displace the pins of earlier nodes.
func TestPinsFlood(t *testing.T) {
	in := testInput()
	in.Affiliates = []Affiliate{testPeer("zz", "11")}
	in.Pins = othersOf(Decide(in, testNow).Pins)
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
	if _, _, err := Accept(pins, twins, "web"); err == nil || !strings.Contains(err.Error(), "n1, n2") {
		t.Errorf("one name for two nodes: %v", err)
	}
	left, _, err := Accept(pins, twins, "n2")
	if err != nil || len(left) != 2 || !reflect.DeepEqual(left[0], pins[0]) || left[1].PublicKey != testKey("c") || left[1].Nodename != "web" {
		t.Errorf("by node id: %v, %v", left, err)
	}
}
