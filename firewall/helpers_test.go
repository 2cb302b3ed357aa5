package firewall_test

import (
	"net/netip"
	"slices"
	"strings"

	. "github.com/wirespan/wirespan/firewall"
)

var subnet = netip.MustParsePrefix("fd5a:1b2c:3d4e:5f02::/64")

func testNumbers() Numbers {
	return Numbers{Table: "wirespan", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500}
}

func testPolicy() Policy {
	return Policy{Numbers: testNumbers(), Interface: "wirespan0", MTU: 1420, Subnet: subnet}
}

// largePolicy routes n networks, one in ten of them IPv6, and masquerades and
// restricts none.
func largePolicy(n int) Policy {
	p := testPolicy()
	for i := range n {
		hi, mid, lo := byte(i>>16), byte(i>>8), byte(i)
		if i%10 == 0 {
			p.Routed = append(p.Routed, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, hi, mid, lo}), 64))
		} else {
			p.Routed = append(p.Routed, netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + hi, mid, lo, 0}), 24+i%9).Masked())
		}
	}
	slices.SortFunc(p.Routed, netip.Prefix.Compare)
	return p
}

// prefixes parses networks.
func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range strings.Fields(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrs(list string) []netip.Addr {
	var out []netip.Addr
	for _, s := range strings.Fields(list) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func owners(list ...string) []Owner {
	var out []Owner
	for _, s := range list {
		prefix, peer, _ := strings.Cut(s, " ")
		out = append(out, Owner{netip.MustParsePrefix(prefix), peer})
	}
	return out
}
