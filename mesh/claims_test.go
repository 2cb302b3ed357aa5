package mesh

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A peer may be inside a network that this node advertises. It keeps its own
// addresses there, or what it sends through the tunnel would be dropped.
func TestPeerInOwnNetwork(t *testing.T) {
	in := testInput()
	in.Config.AdvertisedNetworks = prefixes("10.61.1.0/24")
	p := testPeer("n1", "11")
	p.Addresses, p.AdditionalAddresses = addrs("10.61.1.7"), prefixes("10.61.0.0/23")
	in.Affiliates = []Affiliate{p}
	spec, conditions := specOf(t, in, "n1")
	if want := prefixes("10.61.0.0/24 10.61.1.7/32 fd00:0:0:2::11/128"); !slices.Equal(spec.AllowedIPs, want) {
		t.Errorf("allowed IPs %v, want %v", spec.AllowedIPs, want)
	}
	if !strings.Contains(conditions, "advertise it on one node only") {
		t.Errorf("conditions: %s", conditions)
	}
}

// A default route leaves this host its own addresses, its links and the /64.
func TestDefaultRouteFromPeer(t *testing.T) {
	in := testInput()
	in.Host.Links = append(in.Host.Links, Link{Name: "docker0", Kind: "bridge", Addresses: prefixes("172.17.0.1/16")})
	exit := testPeer("n1", "11")
	exit.AdditionalAddresses = prefixes("0.0.0.0/0 ::/0")
	in.Affiliates = []Affiliate{exit}
	for _, p := range exit.AdditionalAddresses {
		in.Config.AllowedNetworks = append(in.Config.AllowedNetworks, Allowance{exit.Nodename, p})
	}
	spec, conditions := specOf(t, in, "n1")
	if conditions != "" {
		t.Errorf("conditions:\n%s", conditions)
	}
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "172.20.2.2": true, "172.17.0.2": true, "fd00:0:0:2::11": true, "fd00:0:0:3::1": true,
		"172.20.2.1": false, "172.17.0.1": false, "fd00:0:0:2::1": false, "fd00:0:0:2::99": false,
		"127.0.0.1": false, "::1": false, "169.254.169.254": false, "fe80::1": false, "ff02::1": false, "255.255.255.255": false,
	} {
		a := netip.MustParseAddr(addr)
		if got := slices.ContainsFunc(spec.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(a) }); got != want {
			t.Errorf("%s is routed to the peer: %v, want %v", addr, got, want)
		}
	}
}

// An exit node carries only what no other node announces, so that others don't
// conflict with it.
func TestPeerOfExitNode(t *testing.T) {
	in := testInput()
	in.Config.AdvertisedNetworks = prefixes("0.0.0.0/0")
	p := testPeer("n1", "11")
	p.AdditionalAddresses = prefixes("10.61.3.0/24")
	in.Affiliates = []Affiliate{p}
	spec, conditions := specOf(t, in, "n1")
	if want := prefixes("10.61.3.0/24 fd00:0:0:2::11/128"); !slices.Equal(spec.AllowedIPs, want) || conditions != "" {
		t.Errorf("allowed IPs %v, want %v; conditions:\n%s", spec.AllowedIPs, want, conditions)
	}
}

// Other peers keep their networks, whichever node id is lower.
func TestExitNodeLeavesSites(t *testing.T) {
	in := testInput()
	exit, second, site := testPeer("n1", "11"), testPeer("n2", "12"), testPeer("n3", "13")
	exit.AdditionalAddresses, second.AdditionalAddresses = prefixes("0.0.0.0/0"), prefixes("0.0.0.0/0")
	site.AdditionalAddresses, site.Addresses = prefixes("10.61.3.0/24"), addrs("172.21.100.7")
	in.Affiliates = []Affiliate{exit, second, site}
	in.Config.AllowedNetworks = []Allowance{{exit.Nodename, prefixes("0.0.0.0/0")[0]}, {second.Nodename, prefixes("0.0.0.0/0")[0]}}
	got, conditions := specOf(t, in, "n3")
	if want := prefixes("10.61.3.0/24 172.21.100.7/32 fd00:0:0:2::13/128"); !slices.Equal(got.AllowedIPs, want) {
		t.Errorf("allowed IPs of the site %v, want %v", got.AllowedIPs, want)
	}
	if strings.Count(conditions, "NetworkOverlap") != 1 || !strings.Contains(conditions, `"n2" (node n2) announces 1.0.0.0/8, which "n1" (node n1) keeps;`) {
		t.Errorf("conditions:\n%s", conditions)
	}
	if got, _ := specOf(t, in, "n1"); !slices.ContainsFunc(got.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(addrs("8.8.8.8")[0]) }) {
		t.Errorf("allowed IPs of the exit node %v", got.AllowedIPs)
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
}
