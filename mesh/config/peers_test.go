package config_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

var peersSubnet = netip.MustParsePrefix("fd00:1:2:3::/64")

const (
	peerKeyA = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	peerKeyB = "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
)

func parsePeers(text string) ([]mesh.Affiliate, error) {
	return config.ParsePeers(config.File{Name: "peers.yaml", Data: []byte(text)}, peersSubnet)
}

func TestParsePeers(t *testing.T) {
	node := mesh.NewNodeKey([32]byte{7}).NodeID()
	got, err := parsePeers(`
peers:
- name: office
  publicKey: ` + peerKeyA + `
  endpoints: ["203.0.113.5:51820", "[2001:db8::5]:51820"]
  networks: [192.168.7.0/24]
- publicKey: ` + peerKeyB + `
  nodeID: ` + node + "\n")
	if err != nil {
		t.Fatal(err)
	}
	device := mesh.Affiliate{
		NodeID: mesh.NodeIDOfKey(mesh.Key{1}), Nodename: "office", Hostname: "office", MachineType: mesh.MachineUnknown, PublicKey: mesh.Key{1},
		Endpoints:           []netip.AddrPort{netip.MustParseAddrPort("203.0.113.5:51820"), netip.MustParseAddrPort("[2001:db8::5]:51820")},
		AdditionalAddresses: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}, Static: true,
	}
	member := mesh.Affiliate{
		NodeID: node, MachineType: mesh.MachineUnknown, PublicKey: mesh.Key{2}, Address: mesh.DerivedAddress(peersSubnet, node), Static: true,
	}
	want := []mesh.Affiliate{device, member}
	if device.NodeID > member.NodeID {
		want = []mesh.Affiliate{member, device}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, text := range []string{"", "---\n", "peers:\n", "peers: []\n"} {
		if got, err := parsePeers(text); len(got) != 0 || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestParsePeersErrors(t *testing.T) {
	key := "publicKey: " + peerKeyA
	peer := func(keys string) string {
		return "peers:\n- networks: [10.1.0.0/16]\n  " + strings.ReplaceAll(keys, "\n", "\n  ") + "\n"
	}
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"syntax":            {"peers: [", []string{"peers.yaml:1: yaml: did not find expected node content"}},
		"not a list":        {"peers: 5\n", []string{"peers.yaml:1: peers: expected a list of at most 1024 mappings"}},
		"not a mapping":     {"peers: [5]\n", []string{"peers.yaml:1: peers[0]: expected a mapping"}},
		"no key":            {peer("name: a"), []string{"peers.yaml:2: peers[0]: publicKey is required"}},
		"a bad key":         {peer("publicKey: abc"), []string{`peers.yaml:3: peers[0].publicKey: "abc" is not a WireGuard public key, as wg show prints it`}},
		"an unknown field":  {peer(key + "\nendpoint: 1.2.3.4:5"), []string{`peers.yaml:4: unknown keys found during decoding: peers[0].endpoint (line 4; did you mean "endpoints"?)`}},
		"a bad name":        {peer(key + "\nname: A b"), []string{`peers.yaml:4: peers[0].name: "A b" is not a node name (lower-case letters, digits, - and .)`}},
		"a bad node id":     {peer(key + "\nnodeID: abc"), []string{`peers.yaml:4: peers[0].nodeID: "abc" is not a node id, as wirespan get identity shows it`}},
		"a foreign address": {peer(key + "\naddress: fd00::1"), []string{"peers.yaml:4: peers[0].address: fd00::1 is not in this mesh's fd00:1:2:3::/64"}},
		"a bad endpoint":    {peer(key + "\nendpoints:\n- a.example:1"), []string{`peers.yaml:5: peers[0].endpoints: "a.example:1" is not the IP address and port of a node, such as 203.0.113.5:51820 or [2001:db8::5]:51820`}},
		"a bad network":     {"peers:\n- " + key + "\n  networks:\n  - 10.1.2.3/16\n", []string{"peers.yaml:4: peers[0].networks: 10.1.2.3/16 has host bits set; did you mean 10.1.0.0/16?"}},
		"nothing behind it": {"peers:\n- " + key + "\n", []string{"peers.yaml:2: peers[0]: give it an address, a nodeID or networks: nothing leads to it"}},
		"networks overlap":  {"peers:\n- " + key + "\n  networks: [10.0.0.0/8, 10.1.0.0/16]\n", []string{"peers.yaml:2: peers[0].networks: 10.1.0.0/16 is inside 10.0.0.0/8; leave one of them out"}},
		"one key twice":     {peer(key) + peer(key)[len("peers:\n"):], []string{"peers.yaml:5: peers[1].publicKey: the peer at line 3 has it, too"}},
		"many endpoints":    {peer(key + "\nendpoints: [" + strings.Repeat("1.2.3.4:5,", 17) + "]"), []string{"peers.yaml:4: peers[0].endpoints: 17 of them, at most 16"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parsePeers(tc.text)
			wantProblems(t, err, tc.want...)
		})
	}
	if _, err := parsePeers("#" + strings.Repeat(" ", config.MaxPeersFile)); err == nil || err.Error() != "peers.yaml: larger than 1024 KiB" {
		t.Errorf("a large file: %v", err)
	}
	var many strings.Builder
	for i := range config.MaxStaticPeers + 1 {
		fmt.Fprintf(&many, "- publicKey: %v\n  networks: [10.%d.%d.0/24]\n", mesh.Key{1, byte(i), byte(i >> 8)}, i>>8, i&255)
	}
	if _, err := parsePeers("peers:\n" + many.String()); err == nil {
		t.Error("too many peers are no error")
	}
}

// FuzzParsePeers: no input crashes, errors name the file, and what is accepted has what
// package mesh relies on.
func FuzzParsePeers(f *testing.F) {
	f.Add([]byte("peers:\n- name: a\n  publicKey: " + peerKeyA + "\n  endpoints: [1.2.3.4:5]\n  networks: [10.1.0.0/16]\n  address: fd00:1:2:3::5\n"))
	f.Add([]byte("a: &a {<<: *a, peers: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		peers, err := parsePeers(string(data))
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, "peers.yaml") && !strings.Contains(text, " problems:\n  peers.yaml") {
				t.Errorf("an error without its file: %q", err)
			}
			return
		}
		for i, a := range peers {
			if _, err := mesh.DecodeNodeID(a.NodeID); err != nil || a.PublicKey.IsZero() || !a.Static || a.Record.Signed() {
				t.Errorf("peer %+v", a)
			}
			if a.Address.IsValid() && !peersSubnet.Contains(a.Address) || i > 0 && peers[i-1].NodeID >= a.NodeID {
				t.Errorf("peer %d: %+v", i, a)
			}
		}
	})
}
