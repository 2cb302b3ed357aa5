package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// broadBits is the prefix length below which a network is as good as a default
// route: two halves of everything are one, too.
const broadBits = 8

// protected is an address of the underlay that this node depends on, and what
// it is to this node.
type protected struct {
	address netip.Addr
	what    string
	peers   bool // it may be a peer's own address: the founder of a mesh is its discovery server
}

// protectedAddresses are those that a peer must not draw into the tunnel, where
// it could listen or answer in their place.
func protectedAddresses(h *Host) []protected {
	var out []protected
	add := func(what string, list []netip.Addr, peers bool) {
		for _, a := range list {
			a = a.Unmap().WithZone("")
			if a.IsValid() && !slices.ContainsFunc(out, func(p protected) bool { return p.address == a }) {
				out = append(out, protected{a, what, peers})
			}
		}
	}
	add("this node's gateway", h.Gateways, false)
	add("this node's DNS server", h.DNSServers, false)
	add("a discovery server", h.DiscoveryServers, h.PeerDiscovery)
	return out
}

// refusals are what peers may not have, but for those that allowances name.
type refusals struct {
	guarded    []protected
	allowances []Allowance
	own        []netip.Prefix // networks that this node itself leads to
	last       int            // added to the owner of a broad network: see settle
	room       int            // how many more prefixes fit
}

// Bounds on prefixes. What one node excludes can cut its networks into thousands.
const (
	maxPeerPrefixes = 1 << 10
	maxPrefixes     = 1 << 16
)

func newRefusals(in *Input, peers int) refusals {
	return refusals{protectedAddresses(&in.Host), in.Config.AllowedNetworks, ownNetworks(in), peers, maxPrefixes}
}

// hasRoom reports whether a node may have these networks, and takes their room,
// beside its addresses'.
func (r *refusals) hasRoom(networks []span, addresses int) bool {
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

func addressesOf(list []protected) (out []netip.Prefix) {
	for _, g := range list {
		out = append(out, hostPrefix(g.address))
	}
	return out
}

// allowed reports whether the node of that name may have n all the same.
func (r *refusals) allowed(name string, n netip.Prefix) bool {
	return name != "" && slices.ContainsFunc(r.allowances, func(a Allowance) bool {
		return a.Nodename == name && a.Prefix.Bits() <= n.Bits() && a.Prefix.Contains(n.Addr())
	})
}

// broad reports whether n is too broad for the node of that name.
func (r *refusals) broad(name string, n netip.Prefix) bool {
	return n.Bits() < broadBits && !r.allowed(name, n.Masked())
}

// covered lists the protected addresses in want that the node of that name may
// not have. Own says that want are its own addresses, not networks.
func (r *refusals) covered(name string, want []span, own bool) []protected {
	var out []protected
	for _, g := range r.guarded {
		if own && g.peers {
			continue
		}
		covers := func(s span) bool { return s.from.Compare(g.address) <= 0 && g.address.Compare(s.to) <= 0 }
		if slices.ContainsFunc(want, covers) && !r.allowed(name, hostPrefix(g.address)) {
			out = append(out, g)
		}
	}
	return out
}

// reportRefused says what p does not get, and how it could.
func (p *candidate) reportRefused(broad []netip.Prefix, guarded []protected, cs *conditions) {
	const named = 3
	var parts []string
	var first netip.Prefix
	for _, n := range broad {
		parts = append(parts, fmt.Sprintf("%v, as broad as a default route", n.Masked()))
		first = broad[0].Masked()
	}
	for _, g := range guarded {
		parts = append(parts, fmt.Sprintf("%v, %s", g.address, g.what))
		if !first.IsValid() {
			first = hostPrefix(g.address)
		}
	}
	if len(parts) == 0 {
		return
	}
	if more := len(parts) - named; more > 0 {
		parts = append(parts[:named], fmt.Sprintf("and %d more", more))
	}
	remedy := fmt.Sprintf("allowedNetworks: [%s=%v] would allow it", p.name, first)
	if p.name == "" {
		remedy = "it has no nodename of its own, by which allowedNetworks could allow it"
	}
	cs.add(ConditionRouteRefused, p.displayName(),
		"%q (node %s) announces %s: that is not routed to it; %s", p.displayName(), p.NodeID, strings.Join(parts, "; "), remedy)
}

// reportOwnNetworks names the peers that announce what this node itself leads
// to, and so keeps.
func reportOwnNetworks(in *Input, peers []candidate, cs *conditions) {
	owned := ownNetworks(in)
	for i := range peers {
		p := &peers[i]
		for _, n := range bounded(p.AdditionalAddresses, maxPeerAddresses) {
			n = unmapPrefix(n)
			own := slices.IndexFunc(owned, func(o netip.Prefix) bool { return n.IsValid() && o.Overlaps(n) })
			if own >= 0 && n.Bits() >= broadBits {
				cs.add(ConditionNetworkOverlap, p.displayName(),
					"%q (node %s) announces %v, and this node (%s) advertises %v: here it is not routed to the peer; advertise it on one node only",
					p.displayName(), p.NodeID, n.Masked(), in.Self.NodeID, owned[own])
			}
		}
	}
}

// reportAsymmetry names networks that one side keeps out of the tunnel and the
// other doesn't: packets then go one way and come back another.
func reportAsymmetry(in *Input, peers []candidate, local *Affiliate, cs *conditions) {
	ours := in.Config.ExcludeAdvertisedNetworks
	for i := range peers {
		p := &peers[i]
		theirs := bounded(p.ExcludeAdvertisedNetworks, maxPeerAddresses)
		if x, ok := lopsided(ours, theirs, p.Affiliate); ok {
			cs.add(ConditionAsymmetricExclusion, p.displayName(),
				"this node excludes %v and %q (node %s), which has addresses there, does not: set filters.excludeAdvertisedNetworks alike on both", x, p.displayName(), p.NodeID)
		}
		if x, ok := lopsided(theirs, ours, local); ok {
			cs.add(ConditionAsymmetricExclusion, p.displayName(),
				"%q (node %s) excludes %v and this node, which has addresses there, does not: set filters.excludeAdvertisedNetworks alike on both", p.displayName(), p.NodeID, x)
		}
	}
}

// lopsided finds a network that one side excludes, in which the other side
// announces something that it does not exclude.
func lopsided(one, other []netip.Prefix, side *Affiliate) (netip.Prefix, bool) {
	for _, x := range one {
		x = unmapPrefix(x)
		if !x.IsValid() {
			continue
		}
		inside := func(n netip.Prefix) bool {
			n = unmapPrefix(n)
			return n.IsValid() && n.Overlaps(x) && !slices.ContainsFunc(other, func(o netip.Prefix) bool {
				o = unmapPrefix(o)
				return o.IsValid() && o.Overlaps(n)
			})
		}
		if slices.ContainsFunc(bounded(side.AdditionalAddresses, maxPeerAddresses), inside) {
			return x, true
		}
		for _, a := range bounded(side.Addresses, maxPeerAddresses) {
			if a.IsValid() && a != side.Address && inside(hostPrefix(a.Unmap())) {
				return x, true
			}
		}
	}
	return netip.Prefix{}, false
}
