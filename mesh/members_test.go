package mesh

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// ownerOfName returns the node id of the peer that owns a nodename in a plan.
func ownerOfName(plan Plan, name string) string {
	for _, s := range plan.Specs {
		if s.Name == name {
			return s.NodeID
		}
	}
	return ""
}

// A name stays with the node that had it first, whatever names others take later.
func TestNamesAreNotTaken(t *testing.T) {
	in := testInput()
	box3 := testPeer("n3", "13")
	box3.Nodename = "box3"
	older := testPeer("n1", "11")
	in.Affiliates = []Affiliate{older}
	in.Pins = Decide(in, testNow).Pins
	in.Affiliates = []Affiliate{older, box3}
	in.Pins = Decide(in, testNow.Add(time.Hour)).Pins
	older.Nodename = "box3" // seen before box3, but not by this name
	in.Affiliates[0] = older
	if plan := Decide(in, testNow.Add(2*time.Hour)); ownerOfName(plan, "box3") != "n3" {
		t.Errorf("after an older node renamed itself, box3 is %q", ownerOfName(plan, "box3"))
	}

	// A node id is free text and must not count as a name.
	in = testInput()
	in.Config.AllowedNetworks = []Allowance{{"box3", netip.MustParsePrefix("0.0.0.0/0")}}
	first, forged := testPeer("n1", "11"), testPeer("box3", "12")
	first.Nodename, forged.Nodename = "b", "b"
	in.Affiliates = []Affiliate{first}
	in.Pins = Decide(in, testNow).Pins
	forged.AdditionalAddresses = prefixes("0.0.0.0/0")
	in.Affiliates = []Affiliate{first, forged, box3}
	plan := Decide(in, testNow.Add(time.Hour))
	if ownerOfName(plan, "box3") != "n3" || len(plan.Routed) != 0 {
		t.Errorf("box3 is %q, routed %v", ownerOfName(plan, "box3"), plan.Routed)
	}

	// A node that finds no room for a pin counts as the latest.
	in = testInput()
	for i := range maxPins {
		in.Pins = append(in.Pins, Pin{NodeID: fmt.Sprintf("m%04d", i), FirstSeen: testNow, LastSeen: testNow})
	}
	in.Pins[0] = Pin{NodeID: "n3", PublicKey: box3.PublicKey, FirstSeen: testNow, LastSeen: testNow, Nodename: "box3"}
	late := testPeer("a0", "19")
	late.Nodename = "box3"
	in.Affiliates = []Affiliate{late, box3}
	if plan := Decide(in, testNow.Add(time.Hour)); ownerOfName(plan, "box3") != "n3" {
		t.Errorf("with a full table of pins, box3 is %q", ownerOfName(plan, "box3"))
	}
}
