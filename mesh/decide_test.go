package mesh

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"
)

// meshOf three: n1 is up, n2 down with its only endpoint in use, n3 unknown.
func meshOfThree() Input {
	in := testInput()
	in.Config.MachineType = MachineWorker
	for i, name := range []string{"n1", "n2", "n3"} {
		p := testPeer(name, "1"+name[1:])
		p.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + i)}), p.Address}
		ep := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 51820)
		p.Endpoints = []netip.AddrPort{ep}
		in.Affiliates = append(in.Affiliates, p)
		in.Previous = append(in.Previous, PeerStatus{PublicKey: p.PublicKey, LastUsedEndpoint: ep, LastEndpointChange: ago(time.Minute)})
		in.Stats = append(in.Stats, PeerStats{PublicKey: p.PublicKey, Endpoint: ep})
	}
	in.Stats[0].LastHandshakeTime = ago(time.Second)
	in.Stats[0].Endpoint = netip.MustParseAddrPort("172.22.113.9:40000") // roamed
	in.Previous[2].LastEndpointChange = ago(time.Second)
	return in
}

func TestRouted(t *testing.T) {
	in := meshOfThree()
	if got := Decide(in, testNow).Routed; !slices.Equal(got, prefixes("10.0.0.2/32")) {
		t.Errorf("routed %v, want the address of the peer that is up", got)
	}
	in.Config.ForceRouting = true
	if got := Decide(in, testNow).Routed; !slices.Equal(got, prefixes("10.0.0.2/31 10.0.0.4/32")) {
		t.Errorf("forced: routed %v, want all addresses, joined", got)
	}
}

func TestAggregate(t *testing.T) {
	for in, want := range map[string]string{
		"":                                        "",
		"10.0.0.1/32 10.0.0.0/32":                 "10.0.0.0/31",
		"10.0.0.1/32 10.0.0.2/32":                 "10.0.0.1/32 10.0.0.2/32",
		"10.0.0.3/32 10.0.0.0/31 10.0.0.2/32":     "10.0.0.0/30",
		"128.0.0.0/1 0.0.0.0/1 8000::/1 ::/1":     "0.0.0.0/0 ::/0",
		"0.0.0.0/0 ::/0":                          "0.0.0.0/0 ::/0",
		"255.255.255.255/32 ::/128":               "255.255.255.255/32 ::/128",
		"10.0.0.0/24 10.0.1.0/25 10.0.1.128/25":   "10.0.0.0/23",
		"fd20:db8::/128 fd20:db8::1/128 ff00::/8": "fd20:db8::/127 ff00::/8",
	} {
		if got := aggregate(prefixes(in)); !slices.Equal(got, prefixes(want)) {
			t.Errorf("aggregate(%s) = %v, want %s", in, got, want)
		}
	}
}

func TestHarvest(t *testing.T) {
	in := meshOfThree()
	if got := Decide(in, testNow).Endpoints; got != nil {
		t.Errorf("off: harvested %v", got)
	}
	in.Config.HarvestExtraEndpoints = true
	want := []Endpoint{{PublicKey: testKey("n1"), AffiliateID: "n1", Endpoint: netip.MustParseAddrPort("172.22.113.9:40000")}}
	if got := Decide(in, testNow).Endpoints; !slices.Equal(got, want) {
		t.Errorf("harvested %v, want %v", got, want)
	}
	in.Stats[0].Endpoint = netip.AddrPort{}
	if got := Decide(in, testNow).Endpoints; got != nil {
		t.Errorf("up without an endpoint: harvested %v", got)
	}
}

func TestMembers(t *testing.T) {
	in := testInput()
	twin := Affiliate{NodeID: "n9", Nodename: "web", Hostname: "new"}
	in.Affiliates = []Affiliate{
		twin,
		{NodeID: "n5", Nodename: "web", Hostname: "old"},
		{NodeID: "n7"},
		{
			NodeID: "n3", Nodename: "cp", Hostname: "cp.example.com", Addresses: addrs("10.0.0.1"), MachineType: MachineControlPlane,
			OperatingSystem: "Talos (v1.14.0)", ControlPlanePort: 6443,
		},
		{NodeID: "n0", Nodename: "ourselves", Hostname: "stale entry of this node"},
	}
	plan := Decide(in, testNow)
	want := []Member{
		{
			NodeID: "n3", Nodename: "cp", Hostname: "cp.example.com", Addresses: addrs("10.0.0.1"), MachineType: MachineControlPlane,
			OperatingSystem: "Talos (v1.14.0)", ControlPlanePort: 6443,
		},
		{NodeID: "n0", Nodename: "self", Hostname: "self.example.com", Addresses: plan.Local.Addresses, MachineType: MachineUnknown, OperatingSystem: "Debian (13)"},
		{NodeID: "n5", Nodename: "web", Hostname: "old"},
	}
	if !reflect.DeepEqual(plan.Members, want) {
		t.Errorf("members\n%+v\nwant\n%+v", plan.Members, want)
	}
	if len(plan.Conditions) != 1 || plan.Conditions[0].Type != ConditionDuplicateNodename || plan.Conditions[0].Subject != "web" {
		t.Errorf("conditions %v, want one on each of both", plan.Conditions)
	}
}

func TestDisabled(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"disabled":       func(in *Input) { in.Config.Enabled = false },
		"no key yet":     func(in *Input) { in.Self.PublicKey = Key{} },
		"no address yet": func(in *Input) { in.Self.Address = netip.Addr{} },
	} {
		t.Run(name, func(t *testing.T) {
			in := meshOfThree()
			in.Config.ForceRouting, in.Config.HarvestExtraEndpoints = true, true
			change(&in)
			plan := Decide(in, testNow)
			want := Plan{
				Local: Affiliate{
					NodeID: "n0", Hostname: "self.example.com", OperatingSystem: "Debian (13)", MachineType: MachineWorker,
					Addresses: addrs("172.20.2.1"),
				},
				Members: plan.Members, Pins: plan.Pins,
			}
			if !reflect.DeepEqual(plan, want) {
				t.Errorf("plan %+v\nwant %+v", plan, want)
			}
			if len(plan.Members) != 3 {
				t.Errorf("%d members, want 3", len(plan.Members))
			}
		})
	}
}

// A node that is gone from the affiliates is gone from the plan and forgotten.
func TestVanishedPeer(t *testing.T) {
	in := meshOfThree()
	in.Affiliates = in.Affiliates[1:]
	in.Previous = Decide(in, testNow).Statuses
	if len(in.Previous) != 2 {
		t.Fatalf("%d statuses, want 2", len(in.Previous))
	}
	in.Affiliates = meshOfThree().Affiliates
	for _, p := range Decide(in, testNow).Peers {
		if p.PublicKey == testKey("n1") && p.Endpoint != in.Affiliates[0].Endpoints[0] {
			t.Errorf("a peer that is back is given %v, want its first endpoint", p.Endpoint)
		}
	}
}

func TestKeyCompare(t *testing.T) {
	var keys []Key
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		k := testKey(name)
		keys = append(keys, k)
		for i := range KeySize { // neighbours in every byte, at every alphabet boundary
			n := k
			n[i] += 0x11 * byte(i)
			keys = append(keys, n)
		}
	}
	for _, a := range keys {
		for _, b := range keys {
			want := 0
			if a.String() < b.String() {
				want = -1
			} else if a.String() > b.String() {
				want = 1
			}
			if got := a.Compare(b); got != want {
				t.Fatalf("%v compared with %v = %d, want %d", a, b, got, want)
			}
		}
	}
}
