package discovery

import (
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"

	"github.com/wirespan/wirespan/mesh"
)

func TestOpenRaw(t *testing.T) {
	a := testAffiliate()
	blob, err := SealAffiliate(testKey, a, testNonce)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := SealAffiliate(otherKey, a, testNonce)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := SealEndpoint(testKey, netip.MustParseAddrPort("192.0.2.1:51820"))
	if err != nil {
		t.Fatal(err)
	}
	withEndpoint := a
	withEndpoint.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}
	noKubeSpan := sealRaw(t, &pb.Affiliate{NodeId: "n"})
	for name, tc := range map[string]struct {
		raw  RawAffiliate
		want Opened
	}{
		"good":             {RawAffiliate{a.NodeID, blob, [][]byte{endpoint, endpoint}}, Opened{Affiliate: withEndpoint}},
		"only endpoints":   {RawAffiliate{a.NodeID, nil, [][]byte{endpoint}}, Opened{}},
		"not a peer":       {RawAffiliate{"n", noKubeSpan, [][]byte{endpoint}}, Opened{Affiliate: mesh.Affiliate{NodeID: "n", MachineType: mesh.MachineUnknown}}},
		"bad endpoint":     {RawAffiliate{a.NodeID, blob, [][]byte{{1}, endpoint}}, Opened{Affiliate: withEndpoint, Problems: []Problem{{a.NodeID, "dropped malformed endpoint (1)"}}}},
		"other secret":     {RawAffiliate{a.NodeID, foreign, nil}, Opened{Unreadable: true, Problems: []Problem{{a.NodeID, ErrUnreadable.Error()}}}},
		"another's data":   {RawAffiliate{"n", blob, nil}, Opened{Problems: []Problem{{"n", `data belongs to node id "` + a.NodeID + `"`}}}},
		"no id":            {RawAffiliate{"", blob, nil}, Opened{Problems: []Problem{{"", "ignored an affiliate: affiliate id is empty"}}}},
		"unprintable id":   {RawAffiliate{"\x1b", blob, nil}, Opened{Problems: []Problem{{"", "ignored an affiliate: affiliate id isn't printable"}}}},
		"overlong id":      {RawAffiliate{strings.Repeat("x", 257), blob, nil}, Opened{Problems: []Problem{{"", "ignored an affiliate: affiliate id has 257 bytes, the limit is 256"}}}},
		"many endpoints":   {RawAffiliate{a.NodeID, blob, slices.Repeat([][]byte{endpoint}, 65)}, Opened{Affiliate: withEndpoint, Problems: []Problem{{a.NodeID, "endpoints beyond the limit of 64 ignored"}}}},
		"enough endpoints": {RawAffiliate{a.NodeID, blob, slices.Repeat([][]byte{endpoint}, 64)}, Opened{Affiliate: withEndpoint}},
	} {
		if got := OpenRaw(testKey, tc.raw); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, tc.want)
		}
	}
}

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
		affiliates, problems := Collect(tc.in)
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
	a := mesh.Affiliate{NodeID: "n", Addresses: []netip.Addr{addr("192.0.2.2"), addr("192.0.2.1")}, Hostname: "h1", Nodename: "n1", OperatingSystem: "os1",
		MachineType: mesh.MachineControlPlane, ControlPlanePort: 6443, PublicKey: publicKey, Address: addr("fd00::1"),
		AdditionalAddresses: []netip.Prefix{pfx("10.1.0.0/16")}, Endpoints: []netip.AddrPort{ap("192.0.2.2:1")}, ExcludeAdvertisedNetworks: []netip.Prefix{pfx("10.9.0.0/16")}}
	b := mesh.Affiliate{NodeID: "n", Addresses: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.3")}, Hostname: "h2", OperatingSystem: "os2",
		MachineType: mesh.MachineUnknown, PublicKey: mesh.Key{7}, Address: addr("fd00::2"),
		AdditionalAddresses: []netip.Prefix{pfx("10.1.0.0/16"), pfx("10.2.0.0/16")}, Endpoints: []netip.AddrPort{ap("192.0.2.3:1"), ap("192.0.2.2:1")}, ExcludeAdvertisedNetworks: []netip.Prefix{pfx("10.8.0.0/16")}}
	ab := mesh.Affiliate{NodeID: "n", Addresses: []netip.Addr{addr("192.0.2.2"), addr("192.0.2.1"), addr("192.0.2.3")}, Hostname: "h2", Nodename: "n1", OperatingSystem: "os1",
		MachineType: mesh.MachineControlPlane, ControlPlanePort: 6443, PublicKey: mesh.Key{7}, Address: addr("fd00::2"),
		AdditionalAddresses: []netip.Prefix{pfx("10.1.0.0/16"), pfx("10.2.0.0/16")}, Endpoints: []netip.AddrPort{ap("192.0.2.2:1"), ap("192.0.2.3:1")}, ExcludeAdvertisedNetworks: []netip.Prefix{pfx("10.9.0.0/16"), pfx("10.8.0.0/16")}}
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

// TestPure keeps I/O, clocks, goroutines and randomness out of the package.
func TestPure(t *testing.T) {
	impure := []string{`"context"`, `"crypto/rand"`, `"log/slog"`, `"math/rand/v2"`, `"net"`, `"os"`, `"sync"`, `"syscall"`}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, im := range file.Imports {
			if slices.Contains(impure, im.Path.Value) {
				t.Errorf("%s imports %s", f.Name(), im.Path.Value)
			}
		}
	}
}
