package codec

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	serverpb "github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// TestTalosFixtures opens entries that Sidero's client has sealed with testKey. The module
// testdata/interop writes them (go test -update), and checks that the client reads them.
func TestTalosFixtures(t *testing.T) {
	addrs := func(ss ...string) (out []netip.Addr) {
		for _, s := range ss {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	prefixes := func(ss ...string) (out []netip.Prefix) {
		for _, s := range ss {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	endpoints := func(ss ...string) (out []netip.AddrPort) {
		for _, s := range ss {
			out = append(out, netip.MustParseAddrPort(s))
		}
		return out
	}
	for name, want := range map[string]mesh.Affiliate{
		"controlplane": {
			NodeID: "theirs", Hostname: "theirs.example.org", Nodename: "theirs", OperatingSystem: "Talos (v1.14.0)",
			MachineType: mesh.MachineControlPlane, ControlPlanePort: 6443, Addresses: addrs("192.0.2.2", "2001:db8::2"),
			PublicKey: mesh.Key{2}, Address: addrs("fd00::2")[0],
			AdditionalAddresses: prefixes("10.2.0.0/16", "2001:db8:2::/64"), ExcludeAdvertisedNetworks: prefixes("10.2.3.0/24"),
			Endpoints: endpoints("192.0.2.2:51820", "[2001:db8::2]:51820"),
		},
		"worker": {
			NodeID: "sou7yy34ykX3n373Zw1DXKb8zD7UnyKT6HT3QDsGH6L", Hostname: "worker-1", Nodename: "worker-1", OperatingSystem: "Talos (v1.13.2)",
			MachineType: mesh.MachineWorker, Addresses: addrs("192.0.2.3"),
		},
		"pods": {
			NodeID: "7x1SuC8Ege5BGXdAfTEff5iQnlWZLfv9h1LGMxA2pYkC", Hostname: "pods.example.org", Nodename: "pods", OperatingSystem: "Talos (v1.14.0)",
			MachineType: mesh.MachineWorker, Addresses: addrs("10.0.0.4", "2001:db8::4"),
			PublicKey: mesh.Key{4}, Address: addrs("fd7f:175a:b97c:5602:2c1a:b6ff:fe53:8169")[0],
			AdditionalAddresses: prefixes("10.244.4.0/24", "10.244.4.1/32", "2001:db8:4::/64"),
			Endpoints:           endpoints("10.0.0.4:51820", "203.0.113.4:51820", "[2001:db8::4]:51820"),
		},
	} {
		plain, entry := readFixture(t, name)
		got := OpenRaw(test, discovery.RawAffiliate{ID: entry.GetId(), Data: entry.GetData(), Endpoints: entry.GetEndpoints()}, discovery.Known{})
		if !reflect.DeepEqual(got, discovery.Opened{Affiliate: want}) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
		nonce := [NonceSize]byte(entry.GetData())
		if sealed := newGCM(testKey).Seal(nonce[:], nonce[:], plain, nil); !bytes.Equal(sealed, entry.GetData()) {
			t.Errorf("%s: sealed to %x, want %x", name, sealed, entry.GetData())
		}
		for i, ap := range want.Endpoints {
			if blob, err := SealEndpoint(testKey, ap); err != nil || !bytes.Equal(blob, entry.GetEndpoints()[i]) {
				t.Errorf("%s: %v sealed to %x, error %v; want %x", name, ap, blob, err, entry.GetEndpoints()[i])
			}
		}
	}
}

// readFixture returns the plain message of an affiliate, and the server's entry of it.
func readFixture(t *testing.T, name string) (plain []byte, entry *serverpb.Affiliate) {
	t.Helper()
	read := func(kind string) []byte {
		b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "interop", "affiliates", name+kind))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	entry = &serverpb.Affiliate{}
	if err := entry.UnmarshalVT(read(".entry")); err != nil {
		t.Fatal(err)
	}
	return read(".pb"), entry
}
