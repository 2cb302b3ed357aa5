package discovery

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/wirespan/wirespan/mesh"
)

func TestCollect(t *testing.T) {
	good := func(id string) Opened { return Opened{Affiliate: mesh.Affiliate{NodeID: id}} }
	bad := func(id string) Opened { return Opened{Unreadable: true, Problems: []Problem{{id, "bad"}}} }
	other := Opened{Problems: []Problem{{"c", "other"}}}
	for name, tc := range map[string]struct {
		in       []Opened
		ids      []string
		problems []Problem
	}{
		"nothing":     {},
		"sorted":      {in: []Opened{good("b"), {}, good("a")}, ids: []string{"a", "b"}},
		"some bad":    {in: []Opened{bad("z"), good("b"), bad("a")}, ids: []string{"b"}, problems: []Problem{{"a", "bad"}, {"z", "bad"}}},
		"all bad":     {in: []Opened{bad("a"), bad("b"), {}}, problems: []Problem{{"", ReasonWrongSecret}}},
		"none usable": {in: []Opened{other, other}, problems: []Problem{{"c", "other"}}},
	} {
		var opened []*Opened
		for i := range tc.in {
			opened = append(opened, &tc.in[i])
		}
		affiliates, problems := Collect(opened)
		var ids []string
		for _, a := range affiliates {
			ids = append(ids, a.NodeID)
		}
		if !slices.Equal(ids, tc.ids) || !slices.Equal(problems, tc.problems) {
			t.Errorf("%s: %q with %v, want %q with %v", name, ids, problems, tc.ids, tc.problems)
		}
	}
}

func TestMerge(t *testing.T) {
	ap, pfx := netip.MustParseAddrPort, netip.MustParsePrefix
	addr := netip.MustParseAddr
	a := mesh.Affiliate{
		NodeID: "n", Addresses: []netip.Addr{addr("192.0.2.2"), addr("192.0.2.1")}, Hostname: "h1", Nodename: "n1", OperatingSystem: "os1",
		MachineType: mesh.MachineControlPlane, ControlPlanePort: 6443, PublicKey: mesh.Key{1}, Address: addr("fd00::1"),
		AdditionalAddresses: []netip.Prefix{pfx("10.1.0.0/16")}, Endpoints: []netip.AddrPort{ap("192.0.2.2:1")}, ExcludeAdvertisedNetworks: []netip.Prefix{pfx("10.9.0.0/16")},
	}
	b := mesh.Affiliate{
		NodeID: "n", Addresses: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.3")}, Hostname: "h2", OperatingSystem: "os2",
		MachineType: mesh.MachineUnknown, PublicKey: mesh.Key{7}, Address: addr("fd00::2"),
		AdditionalAddresses: []netip.Prefix{pfx("10.1.0.0/16"), pfx("10.2.0.0/16")}, Endpoints: []netip.AddrPort{ap("192.0.2.3:1"), ap("192.0.2.2:1")}, ExcludeAdvertisedNetworks: []netip.Prefix{pfx("10.8.0.0/16")},
	}
	ab := mesh.Affiliate{
		NodeID: "n", Addresses: []netip.Addr{addr("192.0.2.2"), addr("192.0.2.1"), addr("192.0.2.3")}, Hostname: "h2", Nodename: "n1", OperatingSystem: "os1",
		MachineType: mesh.MachineControlPlane, ControlPlanePort: 6443, PublicKey: mesh.Key{7}, Address: addr("fd00::2"),
		AdditionalAddresses: []netip.Prefix{pfx("10.1.0.0/16"), pfx("10.2.0.0/16")}, Endpoints: []netip.AddrPort{ap("192.0.2.2:1"), ap("192.0.2.3:1")}, ExcludeAdvertisedNetworks: []netip.Prefix{pfx("10.9.0.0/16"), pfx("10.8.0.0/16")},
	}
	bare := mesh.Affiliate{NodeID: "n"}
	unknown := mesh.Affiliate{NodeID: "n", MachineType: mesh.MachineUnknown}
	early := mesh.Affiliate{NodeID: "a"}
	set := func(name string, a ...mesh.Affiliate) Named { return Named{Name: name, Affiliates: a} }
	for name, tc := range map[string]struct {
		in   []Named
		want []mesh.Affiliate
	}{
		"nothing":                {nil, nil},
		"one":                    {[]Named{set("k8s", a)}, []mesh.Affiliate{a}},
		"kubernetes first":       {[]Named{set("k8s", a), set("service/x", b)}, []mesh.Affiliate{ab}},
		"by name":                {[]Named{set("service/x", b), set("k8s", a)}, []mesh.Affiliate{ab}},
		"two services":           {[]Named{set("service/y", b), set("service/x", a)}, []mesh.Affiliate{ab}},
		"empty changes nothing":  {[]Named{set("k8s", a), set("service/x", bare)}, []mesh.Affiliate{a}},
		"empty first":            {[]Named{set("k8s", bare), set("service/x", a)}, []mesh.Affiliate{a}},
		"sorted by id":           {[]Named{set("k8s", bare, early)}, []mesh.Affiliate{early, bare}},
		"unknown is a type":      {[]Named{set("k8s", bare), set("service/x", unknown)}, []mesh.Affiliate{unknown}},
		"duplicate within a set": {[]Named{set("k8s", a, a)}, []mesh.Affiliate{a}},
	} {
		if got := Merge(tc.in...); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, tc.want)
		}
	}
	Merge(set("k8s", a), set("service/x", b))
	if len(a.Addresses) != 2 || len(b.Endpoints) != 2 {
		t.Error("Merge changed its arguments")
	}
}
