package mesh

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// nameOf is whose a nodename is by a plan: a node id.
func nameOf(plan Plan, name string) string {
	for _, s := range plan.Specs {
		if s.Name == name {
			return s.NodeID
		}
	}
	return ""
}

// A name stays with who had it first, whatever others call themselves later.
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
	if plan := Decide(in, testNow.Add(2*time.Hour)); nameOf(plan, "box3") != "n3" {
		t.Errorf("after an older node renamed itself, box3 is %q", nameOf(plan, "box3"))
	}

	// A node id is free text: it must not count as a name.
	in = testInput()
	in.Config.AllowedNetworks = []Allowance{{"box3", netip.MustParsePrefix("0.0.0.0/0")}}
	first, forged := testPeer("n1", "11"), testPeer("box3", "12")
	first.Nodename, forged.Nodename = "b", "b"
	in.Affiliates = []Affiliate{first}
	in.Pins = Decide(in, testNow).Pins
	forged.AdditionalAddresses = prefixes("0.0.0.0/0")
	in.Affiliates = []Affiliate{first, forged, box3}
	plan := Decide(in, testNow.Add(time.Hour))
	if nameOf(plan, "box3") != "n3" || len(plan.Routed) != 0 {
		t.Errorf("box3 is %q, routed %v", nameOf(plan, "box3"), plan.Routed)
	}

	// One that no pin is left for is the latest.
	in = testInput()
	for i := range maxPins {
		in.Pins = append(in.Pins, Pin{NodeID: fmt.Sprintf("m%04d", i), FirstSeen: testNow, LastSeen: testNow, NamedSince: testNow})
	}
	in.Pins[0] = Pin{NodeID: "n3", PublicKey: box3.PublicKey, FirstSeen: testNow, LastSeen: testNow, Nodename: "box3", NamedSince: testNow}
	late := testPeer("a0", "19")
	late.Nodename = "box3"
	in.Affiliates = []Affiliate{late, box3}
	if plan := Decide(in, testNow.Add(time.Hour)); nameOf(plan, "box3") != "n3" {
		t.Errorf("with a full table of pins, box3 is %q", nameOf(plan, "box3"))
	}
}

// One affiliate can't become thousands of prefixes.
func TestFragmentsAreBounded(t *testing.T) {
	in := testInput()
	in.Config.ForceRouting = true
	p := testPeer("n1", "11")
	p.AdditionalAddresses, p.Addresses = prefixes("2001::/16"), addrs("10.0.0.1")
	for i := range 100 {
		p.ExcludeAdvertisedNetworks = append(p.ExcludeAdvertisedNetworks, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(i * 37), byte(i * 101), 15: 1}), 128))
	}
	in.Affiliates = []Affiliate{p}
	spec, conditions := specOf(t, in, "n1")
	if len(spec.AllowedIPs) != 2 || conditions == "" {
		t.Errorf("%d allowed IPs; conditions: %s", len(spec.AllowedIPs), conditions)
	}
	rules := newClaimRules(&in)
	all := []span{spanOf(netip.MustParsePrefix("10.0.0.0/8"), ownerOf(0))}
	for n := 0; rules.takeRoom(all, 0); n++ {
		if n > maxPrefixes {
			t.Fatal("there is room without end")
		}
	}
}

// The founder of a mesh has its own address, and nobody else leads there.
func TestFounderIsDiscoveryServer(t *testing.T) {
	in := testInput()
	in.Config.ForceRouting = true
	in.Host.DiscoveryServers, in.Host.PeerDiscovery = addrs("192.0.2.9"), true
	thief, founder := testPeer("a1", "11"), testPeer("n2", "12")
	thief.AdditionalAddresses, founder.Addresses = prefixes("192.0.2.8/30"), addrs("192.0.2.9")
	in.Affiliates = []Affiliate{thief, founder}
	for _, s := range Decide(in, testNow).Specs {
		for _, p := range s.AllowedIPs {
			if p.Contains(in.Host.DiscoveryServers[0]) != (s.NodeID == "n2" && p.Bits() == 32) {
				t.Errorf("%s has %v", s.NodeID, p)
			}
		}
	}
	in.Host.PeerDiscovery = false
	if plan := Decide(in, testNow); len(plan.Routed) == 0 || plan.Routed[0].Contains(in.Host.DiscoveryServers[0]) {
		t.Errorf("routed %v", plan.Routed)
	}
}

// A node that routes nothing says so.
func TestNoRouting(t *testing.T) {
	in := meshOfThree()
	in.Config.NoRouting, in.Config.ForceRouting = true, true
	plan := Decide(in, testNow)
	if len(plan.Routed) != 0 || len(plan.Routes) == 0 {
		t.Errorf("routed %v, routes %v", plan.Routed, plan.Routes)
	}
	for _, r := range plan.Routes {
		if r.Path != PathUnrouted && r.Path != PathMesh {
			t.Errorf("%v is on path %s", r.Prefix, r.Path)
		}
	}
}
