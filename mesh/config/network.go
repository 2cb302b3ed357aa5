package config

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

const (
	maxAdvertisedNetworks = 128
	maxNetwork            = 50 // length of the longest CIDR
	minSiteBits           = 8  // a broader network is not a site
)

// parsePrefix reads a network in CIDR form, with or without host bits.
func parsePrefix(s string) (netip.Prefix, error) {
	var p netip.Prefix
	var err error
	if len(s) <= maxNetwork { // the parser quotes what it gets
		p, err = netip.ParsePrefix(s)
	}
	if err != nil || !p.IsValid() {
		return netip.Prefix{}, fmt.Errorf("%.100q is not a network such as 10.0.0.0/8 or 2001:db8::/32", s)
	}
	return p, nil
}

// parseNetwork reads a network in CIDR form without host bits.
func parseNetwork(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	switch {
	case err != nil:
		return p, err
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%v is an IPv4-mapped network; write it as an IPv4 network", p)
	case p != p.Masked():
		return p, fmt.Errorf("%v has host bits set; did you mean %v?", p, p.Masked())
	}
	return p, nil
}

// parseLocatedNetwork reads a network that other nodes can reach: a default route,
// half of one, or a network outside the special prefixes and the mesh's own range.
func parseLocatedNetwork(s string) (netip.Prefix, error) {
	p, err := parseNetwork(s)
	if err != nil {
		return p, err
	}
	for _, special := range mesh.SpecialPrefixes() {
		if contains(special.Prefix, p) {
			return p, fmt.Errorf("%v is in %v, which is %s", p, special.Prefix, special.Purpose)
		}
	}
	if p.Bits() >= 64 && mesh.IsKubeSpanULA(p.Addr()) {
		return p, fmt.Errorf("%v is in the range of mesh addresses", p)
	}
	return p, nil
}

// parseSiteNetwork reads a network of a site. A broad one is an error: it would take
// most traffic out of the tunnel.
func parseSiteNetwork(s string) (netip.Prefix, error) {
	p, err := parseLocatedNetwork(s)
	if err == nil && p.Bits() < minSiteBits {
		err = fmt.Errorf("%v is too broad for a site; /%d is the broadest", p, minSiteBits)
	}
	return p, err
}

// parseAllowance reads NODENAME=CIDR.
func parseAllowance(s string) (mesh.Allowance, error) {
	name, network, found := strings.Cut(s, "=")
	if !found {
		return mesh.Allowance{}, fmt.Errorf("%.100q is not NODENAME=CIDR such as node-2=0.0.0.0/0", s)
	}
	name, err := parseNodename(name)
	if err != nil {
		return mesh.Allowance{}, err
	}
	p, err := parseNetwork(network)
	return mesh.Allowance{Nodename: name, Prefix: p}, err
}

// parsePinnedEndpoint reads NODENAME=ADDRESS:PORT.
func parsePinnedEndpoint(s string) (mesh.PinnedEndpoint, error) {
	name, endpoint, found := strings.Cut(s, "=")
	if !found {
		return mesh.PinnedEndpoint{}, fmt.Errorf("%.100q is not NODENAME=ADDRESS:PORT such as node-2=203.0.113.5:51820", s)
	}
	name, err := parseNodename(name)
	if err != nil {
		return mesh.PinnedEndpoint{}, err
	}
	ep, err := parseEndpoint(endpoint)
	return mesh.PinnedEndpoint{Nodename: name, Endpoint: ep}, err
}

// parseEndpoint reads where a node is.
func parseEndpoint(s string) (netip.AddrPort, error) {
	ep, err := netip.ParseAddrPort(s)
	if err != nil || ep.Port() == 0 || ep.Addr().Zone() != "" || ep.Addr().IsUnspecified() || ep.Addr().IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("%.100q is not the IP address and port of a node, such as 203.0.113.5:51820 or [2001:db8::5]:51820", s)
	}
	return ep, nil
}

func checkAdvertisedNetworks(networks []netip.Prefix) error {
	if n := len(networks); n > maxAdvertisedNetworks {
		return fmt.Errorf("%d networks, at most %d", n, maxAdvertisedNetworks)
	}
	return checkDisjoint(networks)
}

// checkDisjoint reports the first network that equals or contains another.
func checkDisjoint(networks []netip.Prefix) error {
	sorted := slices.Clone(networks)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Compare(sorted[j]) < 0 })
	for i := 1; i < len(sorted); i++ { // networks nest: if any overlap, then two neighbours do
		switch outer, inner := sorted[i-1], sorted[i]; {
		case outer == inner:
			return fmt.Errorf("duplicate network %v", inner)
		case contains(outer, inner):
			return fmt.Errorf("%v is inside %v; leave one of them out", inner, outer)
		}
	}
	return nil
}

func checkAllowances(allowances []mesh.Allowance) error {
	seen := map[mesh.Allowance]bool{}
	for _, a := range allowances {
		if seen[a] {
			return fmt.Errorf("duplicate %s=%v", a.Nodename, a.Prefix)
		}
		seen[a] = true
	}
	return nil
}

// contains reports whether inner is a part of outer or equal to it.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
