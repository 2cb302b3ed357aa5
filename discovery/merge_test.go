package discovery

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

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
	ba := mesh.Affiliate{ // what b says, and a where it says nothing
		NodeID: "n", Addresses: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.3"), addr("192.0.2.2")}, Hostname: "h2", Nodename: "n1", OperatingSystem: "os2",
		MachineType: mesh.MachineControlPlane, ControlPlanePort: 6443, PublicKey: mesh.Key{7}, Address: addr("fd00::2"),
		AdditionalAddresses: []netip.Prefix{pfx("10.1.0.0/16"), pfx("10.2.0.0/16")}, Endpoints: []netip.AddrPort{ap("192.0.2.3:1"), ap("192.0.2.2:1")}, ExcludeAdvertisedNetworks: []netip.Prefix{pfx("10.8.0.0/16"), pfx("10.9.0.0/16")},
	}
	ab := ba
	ab.Hostname, ab.OperatingSystem, ab.PublicKey, ab.Address = "h1", "os1", a.PublicKey, a.Address
	ab.Addresses = []netip.Addr{addr("192.0.2.2"), addr("192.0.2.1"), addr("192.0.2.3")}
	ab.Endpoints, ab.ExcludeAdvertisedNetworks = []netip.AddrPort{ap("192.0.2.2:1"), ap("192.0.2.3:1")}, []netip.Prefix{pfx("10.9.0.0/16"), pfx("10.8.0.0/16")}
	bCache := b // with the endpoint of a behind its own, which it has already
	static := mesh.Affiliate{NodeID: "n", Nodename: "written", PublicKey: mesh.Key{8}, Endpoints: []netip.AddrPort{ap("198.51.100.1:1")}, Static: true}
	signed := record("n", 9, 1, "192.0.2.9:1")
	signedAt := signed
	signedAt.Endpoints = []netip.AddrPort{ap("198.51.100.1:1"), ap("192.0.2.9:1")}
	bare, early := mesh.Affiliate{NodeID: "n"}, mesh.Affiliate{NodeID: "a"}
	unknown := mesh.Affiliate{NodeID: "n", MachineType: mesh.MachineUnknown}

	at := func(minute int) time.Time { return time.Unix(1e9, 0).Add(time.Duration(minute) * time.Minute) }
	set := func(kind Kind, a ...mesh.Affiliate) Source { return Source{Kind: kind, Affiliates: a} }
	since := func(s Source, minute int) Source { s.Heard = []Heard{{Since: at(minute)}}; return s }
	unlisted := func(s Source, minute int) Source { s.Heard = []Heard{{Since: at(minute), Last: at(9)}}; return s }
	lost := func(s Source) Source { s.Lost = at(9); return s }
	x := func(a ...mesh.Affiliate) Source { return Source{Kind: KindService, Name: "x", Affiliates: a} }
	for name, tc := range map[string]struct {
		in   []Source
		want []mesh.Affiliate
	}{
		"nothing":                        {nil, nil},
		"one":                            {[]Source{set(KindKubernetes, a)}, []mesh.Affiliate{a}},
		"the service first":              {[]Source{set(KindKubernetes, a), x(b)}, []mesh.Affiliate{ba}},
		"by name":                        {[]Source{x(b), set(KindKubernetes, a)}, []mesh.Affiliate{ba}},
		"the newer first":                {[]Source{since(x(b), 1), since(set(KindKubernetes, a), 2)}, []mesh.Affiliate{ab}},
		"an older one that answers":      {[]Source{lost(since(x(b), 2)), since(set(KindKubernetes, a), 1)}, []mesh.Affiliate{ab}},
		"an older one that is listed":    {[]Source{unlisted(x(b), 2), since(set(KindKubernetes, a), 1)}, []mesh.Affiliate{ab}},
		"a source that fails":            {[]Source{lost(set(KindKubernetes)), x(b)}, []mesh.Affiliate{b}},
		"all sources fail":               {[]Source{lost(set(KindKubernetes, a)), lost(x(b))}, []mesh.Affiliate{ba}},
		"empty changes nothing":          {[]Source{set(KindKubernetes, a), x(bare)}, []mesh.Affiliate{a}},
		"empty last":                     {[]Source{set(KindKubernetes, bare), x(a)}, []mesh.Affiliate{a}},
		"sorted by id":                   {[]Source{set(KindKubernetes, bare), x(early)}, []mesh.Affiliate{early, bare}},
		"apart and together":             {[]Source{set(KindKubernetes, early, bare), x(a)}, []mesh.Affiliate{early, a}},
		"unknown is a type":              {[]Source{set(KindKubernetes, bare), x(unknown)}, []mesh.Affiliate{unknown}},
		"the cache alone":                {[]Source{set(KindCache, a)}, []mesh.Affiliate{a}},
		"the cache beside a service":     {[]Source{set(KindCache, a), x(b)}, []mesh.Affiliate{bCache}},
		"and one that has failed":        {[]Source{set(KindCache, a), lost(x(b))}, []mesh.Affiliate{bCache}},
		"the cache has the newer record": {[]Source{set(KindCache, signed), x(record("n", 8, 1, "192.0.2.8:1"))}, []mesh.Affiliate{signed}},
		"the cache has an older record":  {[]Source{set(KindCache, record("n", 8, 1, "192.0.2.8:1")), x(signed)}, []mesh.Affiliate{signed}},
		"written by the administrator":   {[]Source{set(KindStatic, static), x(b), set(KindCache, a)}, []mesh.Affiliate{static}},
		"written and signed":             {[]Source{set(KindStatic, static), x(signed)}, []mesh.Affiliate{signedAt}},
	} {
		if got := Merge(tc.in...); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, tc.want)
		}
	}
	Merge(set(KindKubernetes, a), x(b))
	if len(a.Addresses) != 2 || len(b.Endpoints) != 2 {
		t.Error("Merge changed its arguments")
	}
}

// Each source that has a node is named, with the time of what it says, and for what they
// disagree about the one that is used.
func TestOriginOf(t *testing.T) {
	start := time.Unix(1e9, 0)
	affiliate := func(hostname, system string) mesh.Affiliate {
		return mesh.Affiliate{NodeID: "n", Hostname: hostname, OperatingSystem: system, PublicKey: mesh.Key{1}}
	}
	older := Source{Kind: KindService, Name: "x", Affiliates: []mesh.Affiliate{affiliate("x", "os")}, Heard: []Heard{{Since: start}}}
	newer := Source{Kind: KindKubernetes, Name: "k8s", Affiliates: []mesh.Affiliate{{NodeID: "a"}, affiliate("k", "")}, Heard: []Heard{{}, {Since: start.Add(time.Minute)}}}
	gone := Source{Kind: KindService, Name: "gone", Affiliates: []mesh.Affiliate{affiliate("x", "")}, Heard: []Heard{{Since: start}}, Lost: start.Add(time.Hour)}
	cached := Source{Kind: KindCache, Affiliates: []mesh.Affiliate{affiliate("x", "")}, Heard: []Heard{{Last: start}}}
	sources := []Source{older, newer, gone, cached}
	merged := Merge(sources...)
	if got := OriginOf(sources, &merged[0]); !reflect.DeepEqual(got, Origin{Sources: []Saying{{"k8s", Heard{}}}}) {
		t.Errorf("of one source: %+v", got)
	}
	want := Origin{
		Sources: []Saying{
			{"k8s", Heard{Since: start.Add(time.Minute)}},
			{"service/x", Heard{Since: start}},
			{"service/gone", Heard{Since: start, Last: start.Add(time.Hour)}},
			{"cache", Heard{Last: start}},
		},
		Fields: []Field{{"hostname", []string{"k8s"}}},
	}
	if got := OriginOf(sources, &merged[1]); !reflect.DeepEqual(got, want) {
		t.Errorf("of four:\ngot  %+v\nwant %+v", got, want)
	}
	if got := OriginOf(sources, &mesh.Affiliate{NodeID: "other"}); !reflect.DeepEqual(got, Origin{}) {
		t.Errorf("of none: %+v", got)
	}
}
