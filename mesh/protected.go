package mesh

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// broadBits is the prefix length below which a network is as good as a default
// route: so are two halves of the address space.
const broadBits = 8

// IsBroad reports whether a network is as good as a default route.
func IsBroad(n netip.Prefix) bool { return n.Bits() < broadBits }

// protectedAddress is an address of the underlay that this node depends on. A
// peer that drew it into the tunnel could listen or answer in its place.
type protectedAddress struct {
	address   netip.Addr
	role      string // "this node's gateway"
	mayBePeer bool   // it may be a peer's own address: the founder of a mesh is its discovery server
}

func protectedAddresses(h *Host) []protectedAddress {
	var out []protectedAddress
	there := map[netip.Addr]bool{}
	add := func(role string, list []netip.Addr, mayBePeer bool) {
		for _, a := range list {
			a = a.Unmap().WithZone("")
			if a.IsValid() && !there[a] {
				there[a] = true
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
	share      int            // of a node: prefixes that fit into the plan
}

// newClaimRules shares the room for prefixes among the peers: none can take that of the
// others, and many together can't take more than theirs.
func newClaimRules(in *Input, peers int) claimRules {
	return claimRules{
		protectedAddresses(&in.Host), in.Config.AllowedNetworks, ownNetworks(in),
		min(maxPeerPrefixes, maxPrefixes/max(peers, 1)),
	}
}

// needsAllowance reports whether no node may have n unless the configuration says so: it
// is as broad as a default route, or holds public addresses.
func needsAllowance(n netip.Prefix) bool {
	for _, p := range privatePrefixes {
		if p.Bits() <= n.Bits() && p.Contains(n.Addr()) {
			return IsBroad(n)
		}
	}
	return true
}

// isPrivate reports whether a is no public address.
func isPrivate(a netip.Addr) bool { return !needsAllowance(hostPrefix(a)) }

// ownNetworks returns the networks behind this node, those of its pods whether it announces
// them or not: no peer gets them. They may contain a peer's own addresses, which that peer
// keeps.
func ownNetworks(in *Input) (out []netip.Prefix) {
	for _, n := range in.Config.AdvertisedNetworks {
		if !in.Host.Netstack && !IsBroad(n) { // a broad one yields to the networks of peers
			out = append(out, n)
		}
	}
	return append(out, in.Host.PodNetworks...)
}

// fits reports whether a node's networks fit. Its addresses always do.
func (r *claimRules) fits(networks []span) bool {
	n := 0
	for i := 0; i < len(networks) && n <= r.share; i++ {
		n += len(networks[i].prefixes())
	}
	return n <= r.share
}

// allowed reports whether the configuration lets the node of that name have n,
// which is refused otherwise.
func (r *claimRules) allowed(name string, n netip.Prefix) bool {
	for i := range r.allowances {
		a := &r.allowances[i]
		if name != "" && a.Nodename == name && a.Prefix.Bits() <= n.Bits() && a.Prefix.Contains(n.Addr()) {
			return true
		}
	}
	return false
}

// protectedIn lists the protected addresses in claims that the node of that name
// may not have. Own: the claims are the node's own addresses, not networks.
func (r *claimRules) protectedIn(claims []span, name string, own bool) []protectedAddress {
	var out []protectedAddress
	for _, p := range r.protected {
		if own && p.mayBePeer {
			continue
		}
		covered := false
		for i := range claims {
			s := &claims[i]
			covered = covered || s.from.Compare(p.address) <= 0 && p.address.Compare(s.to) <= 0
		}
		if covered && !r.allowed(name, hostPrefix(p.address)) {
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
		why := "public addresses"
		if IsBroad(n) {
			why = "as broad as a default route"
		}
		parts = append(parts, fmt.Sprintf("%v (%s)", n.Masked(), why))
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
	entry := fmt.Sprintf("%s=%v", p.name, first)
	if !IsShellWord(p.name) {
		entry = strconv.Quote(entry) // or else it might be more than one setting
	}
	remedy := fmt.Sprintf("allowedNetworks: [%s] would allow %s", entry, allows)
	if p.name == "" {
		remedy = "allowedNetworks can't allow it, since the node has no nodename of its own"
	}
	cs.about(p.Affiliate, ConditionRouteRefused, "announces %s: not routed to it; %s", strings.Join(parts, ", "), remedy)
}
