package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// broadBits is the prefix length below which a network is as good as a default
// route: so are two halves of the address space.
const broadBits = 8

func isBroad(n netip.Prefix) bool { return n.Bits() < broadBits }

// protectedAddress is an address of the underlay that this node depends on. A
// peer that drew it into the tunnel could listen or answer in its place.
type protectedAddress struct {
	address   netip.Addr
	role      string // "this node's gateway"
	mayBePeer bool   // it may be a peer's own address: the founder of a mesh is its discovery server
}

func protectedAddresses(h *Host) []protectedAddress {
	var out []protectedAddress
	add := func(role string, list []netip.Addr, mayBePeer bool) {
		for _, a := range list {
			a = a.Unmap().WithZone("")
			if a.IsValid() && !slices.ContainsFunc(out, func(p protectedAddress) bool { return p.address == a }) {
				out = append(out, protectedAddress{a, role, mayBePeer})
			}
		}
	}
	add("this node's gateway", h.Gateways, false)
	add("this node's DNS server", h.DNSServers, false)
	add("a discovery server", h.DiscoveryServers, h.PeerDiscovery)
	return out
}

func addressesOf(list []protectedAddress) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, hostPrefix(p.address))
	}
	return out
}

// Bounds on prefixes. What one node excludes can cut its networks into thousands.
const (
	maxPeerPrefixes = 1 << 10
	maxPrefixes     = 1 << 16
)

// claimRules say which claims of peers are refused, apart from what is reserved.
type claimRules struct {
	protected  []protectedAddress
	allowances []Allowance    // exceptions for named peers
	own        []netip.Prefix // networks behind this node
	room       int            // prefixes that still fit into the plan
}

func newClaimRules(in *Input) claimRules {
	return claimRules{protectedAddresses(&in.Host), in.Config.AllowedNetworks, ownNetworks(in), maxPrefixes}
}

// ownNetworks returns the networks behind this node, which no peer gets. They may
// contain a peer's own addresses, which that peer keeps.
func ownNetworks(in *Input) (out []netip.Prefix) {
	for _, n := range in.Config.AdvertisedNetworks {
		if !in.Host.Netstack && !isBroad(n) { // a broad one yields to the networks of peers
			out = append(out, n)
		}
	}
	return out
}

// takeRoom reports whether a node's networks fit, and if so takes the room for
// them. Its addresses always get theirs.
func (r *claimRules) takeRoom(networks []span, addresses int) bool {
	n := 0
	for i := 0; i < len(networks) && n <= maxPeerPrefixes; i++ {
		n += len(networks[i].prefixes())
	}
	r.room -= addresses
	if n > maxPeerPrefixes || n > r.room {
		return false
	}
	r.room -= n
	return true
}

// allowed reports whether the configuration lets the node of that name have n,
// which is refused otherwise.
func (r *claimRules) allowed(name string, n netip.Prefix) bool {
	return name != "" && slices.ContainsFunc(r.allowances, func(a Allowance) bool {
		return a.Nodename == name && a.Prefix.Bits() <= n.Bits() && a.Prefix.Contains(n.Addr())
	})
}

// protectedIn lists the protected addresses in claims that the node of that name
// may not have. Own: the claims are the node's own addresses, not networks.
func (r *claimRules) protectedIn(claims []span, name string, own bool) []protectedAddress {
	var out []protectedAddress
	for _, p := range r.protected {
		if own && p.mayBePeer {
			continue
		}
		covers := func(s span) bool { return s.from.Compare(p.address) <= 0 && p.address.Compare(s.to) <= 0 }
		if slices.ContainsFunc(claims, covers) && !r.allowed(name, hostPrefix(p.address)) {
			out = append(out, p)
		}
	}
	return out
}

// reportRefused adds a condition that names what p is refused, and the setting
// that would allow it.
func (p *candidate) reportRefused(broad []netip.Prefix, protected []protectedAddress, cs *conditions) {
	const named = 3
	var parts []string
	var first netip.Prefix
	for _, n := range broad {
		parts = append(parts, fmt.Sprintf("%v (as broad as a default route)", n.Masked()))
		first = broad[0].Masked()
	}
	for _, a := range protected {
		parts = append(parts, fmt.Sprintf("%v (%s)", a.address, a.role))
		if !first.IsValid() {
			first = hostPrefix(a.address)
		}
	}
	if len(parts) == 0 {
		return
	}
	if more := len(parts) - named; more > 0 {
		parts = append(parts[:named], fmt.Sprintf("and %d more", more))
	}
	allows := "it"
	if len(parts) > 1 {
		allows = "the first"
	}
	remedy := fmt.Sprintf("allowedNetworks: [%s=%v] would allow %s", p.name, first, allows)
	if p.name == "" {
		remedy = "allowedNetworks can't allow it, since the node has no nodename of its own"
	}
	cs.add(ConditionRouteRefused, p.displayName(),
		"%q (node %s) announces %s: not routed to it; %s", p.displayName(), p.NodeID, strings.Join(parts, ", "), remedy)
}
