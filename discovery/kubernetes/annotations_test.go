package kubernetes

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	serverpb "github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

var (
	interop = codec.Cluster{ID: "c", Secret: mesh.NewSecret([mesh.KeySize]byte{1, 2, 3, 31: 4})}
	start   = time.Unix(1_800_000_000, 0)
)

// Nodes as Talos annotates them give what the same nodes publish at a discovery service.
func TestTalosFixtures(t *testing.T) {
	for _, name := range []string{"controlplane", "worker", "pods"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		n := &node{}
		if err := json.Unmarshal(data, n); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := claimOf(n)
		got, problems := parsePlain(&c)
		if want := wireForm(t, name); !reflect.DeepEqual(got, want) || problems != nil {
			t.Errorf("%s: problems %v\ngot  %+v\nwant %+v", name, problems, got, want)
		}
		// And back: what this node would write of it, a control plane apart.
		want := map[string]string{}
		for k, v := range n.Annotations {
			if k != apiPortKey {
				want[k] = v
			}
		}
		if back := present(plain(got)); !reflect.DeepEqual(back, want) {
			t.Errorf("%s: written as %q, want %q", name, back, want)
		}
	}
}

// wireForm returns what a discovery service has of a node, as Sidero's client has sealed it.
func wireForm(t *testing.T, name string) mesh.Affiliate {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "interop", "affiliates", name+".entry"))
	if err != nil {
		t.Fatal(err)
	}
	entry := &serverpb.Affiliate{}
	if err := entry.UnmarshalVT(b); err != nil {
		t.Fatal(err)
	}
	o := codec.OpenRaw(interop, discovery.RawAffiliate{ID: entry.GetId(), Data: entry.GetData(), Endpoints: entry.GetEndpoints()}, discovery.Known{})
	if o.Affiliate.NodeID == "" {
		t.Fatalf("%s: %+v", name, o)
	}
	return o.Affiliate
}

func TestParsePlain(t *testing.T) {
	key := mesh.Key{9}.String()
	many := strings.TrimSuffix(strings.Repeat("10.0.0.1,", 500), ",")
	var endpoints []string
	for i := range 100 {
		endpoints = append(endpoints, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1)).String())
	}
	for name, test := range map[string]struct {
		plain    map[string]string
		check    func(mesh.Affiliate) bool
		problems []string
	}{
		"nothing": {nil, func(a mesh.Affiliate) bool { return a.NodeID == "id" && a.Nodename == "node" && a.PublicKey.IsZero() }, nil},
		"items that are malformed": {map[string]string{
			addressesKey: "10.0.0.1,x,,fe80::1%eth0,224.0.0.1,0.0.0.0, 10.0.0.2,10.0.0.1", apiPortKey: "0",
		}, func(a mesh.Affiliate) bool {
			return slices.Equal(a.Addresses, []netip.Addr{netip.MustParseAddr("10.0.0.1")}) && a.ControlPlanePort == 0
		}, []string{addressesKey + " (6)", apiPortKey + " (1)"}},
		"no key, no KubeSpan": {map[string]string{publicKeyKey: "AAAA", meshKey: "fd00::1", endpointsKey: "192.0.2.1:1"}, func(a mesh.Affiliate) bool {
			return a.PublicKey.IsZero() && !a.Address.IsValid() && a.Endpoints == nil
		}, []string{"KubeSpan part"}},
		"a bad mesh address": {map[string]string{publicKeyKey: key, meshKey: "fd00::" + strings.Repeat("1", 9999)}, func(a mesh.Affiliate) bool { return !a.Address.IsValid() }, []string{meshKey}},
		"prefixes": {map[string]string{publicKeyKey: key, networksKey: "10.1.2.3/16,::ffff:10.0.0.0/104,10.0.0.0/33,fd00::/8", excludedKey: "10/8"}, func(a mesh.Affiliate) bool {
			return slices.Equal(a.AdditionalAddresses, []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16"), netip.MustParsePrefix("fd00::/8")}) && a.ExcludeAdvertisedNetworks == nil
		}, []string{networksKey + " (2)", excludedKey + " (1)"}},
		"endpoints": {map[string]string{publicKeyKey: key, endpointsKey: "192.0.2.1:0,[::ffff:192.0.2.1]:7,[fe80::1%1]:7,:7,192.0.2.1:70000"}, func(a mesh.Affiliate) bool {
			return slices.Equal(a.Endpoints, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7")})
		}, []string{endpointsKey + " (4)"}},
		"too many endpoints": {map[string]string{publicKeyKey: key, endpointsKey: strings.Join(endpoints, ",")}, func(a mesh.Affiliate) bool { return len(a.Endpoints) == discovery.MaxEndpoints }, []string{"endpoints beyond the limit"}},
		"too many addresses": {map[string]string{addressesKey: many}, func(a mesh.Affiliate) bool { return len(a.Addresses) == 1 }, []string{addressesKey + " (1)"}},
	} {
		a, problems := parsePlain(&claim{Node: "node", ID: "id", Plain: test.plain})
		if !test.check(a) || len(problems) != len(test.problems) {
			t.Errorf("%s: %+v, problems %q", name, a, problems)
			continue
		}
		for i, p := range problems {
			if !strings.Contains(p.Reason, test.problems[i]) || p.AffiliateID != "id" {
				t.Errorf("%s: problem %q, want %q", name, p, test.problems[i])
			}
		}
	}
}

func TestUntrustedText(t *testing.T) {
	a, problems := parsePlain(&claim{Node: "node", ID: "id", Hostname: "a\x1b[31m", OS: strings.Repeat("x", 254)})
	if a.Hostname != "" || a.OperatingSystem != "" || len(problems) != 2 {
		t.Errorf("%+v, %q", a, problems)
	}
}

func TestPodNetworks(t *testing.T) {
	n := &node{podCIDRs: []string{"10.244.1.7/24", "10.244.1.0/24", "fd00:1::/64", "0.0.0.0/0", "x", "224.0.0.0/8"}}
	networks, problems := n.podNetworks()
	want := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}
	if !slices.Equal(networks, want) || len(problems) != 3 {
		t.Errorf("networks %v, problems %q", networks, problems)
	}
}

// FuzzNode reads a Node that anyone may have written, in all forms.
func FuzzNode(f *testing.F) {
	for _, name := range []string{"controlplane", "worker", "pods"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	ours, _ := json.Marshal(object{"metadata": object{"name": "n", "annotations": inBoth(f, 2, signed(2, 5))}})
	f.Add(ours)
	f.Fuzz(func(t *testing.T, data []byte) {
		n := &node{}
		if json.Unmarshal(data, n) != nil {
			return
		}
		tr := newTracker(test, nodeKey(1).NodeID())
		tr.set(n, start)
		tr.replace([]*node{n, n}, start)
		affiliates, problems := tr.table.Result()
		for _, a := range affiliates {
			if !discovery.Printable(a.Hostname) || !discovery.Printable(a.OperatingSystem) || len(a.Endpoints) > discovery.MaxEndpoints || len(a.Addresses) > maxItems {
				t.Errorf("not cleaned: %+v", a)
			}
			if !a.Record.Signed() && present(plain(a))[nodeIDKey] != a.NodeID {
				t.Errorf("not written as it was read: %+v", a)
			}
		}
		for _, p := range append(problems, tr.problems()...) {
			if len(p.Reason) > 1000 || !discovery.Printable(p.Reason) {
				t.Errorf("problem %q", p.Reason)
			}
		}
		n.podNetworks()
		difference(n, plain(affiliate(1)))
		tr.remove(n.Name, start)
		if tr.table.Len() != 0 || len(tr.nodes) != 0 || len(tr.byID) != 0 {
			t.Errorf("something is left: %d, %v, %v", tr.table.Len(), tr.nodes, tr.byID)
		}
	})
}
