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
}

// protectedAddresses are those that a peer must not draw into the tunnel, where
// it could listen or answer in their place.
func protectedAddresses(h *Host) []protected {
	var out []protected
	add := func(what string, list []netip.Addr) {
		for _, a := range list {
			a = a.Unmap().WithZone("")
			if a.IsValid() && !slices.ContainsFunc(out, func(p protected) bool { return p.address == a }) {
				out = append(out, protected{a, what})
			}
		}
	}
	add("this node's gateway", h.Gateways)
	add("this node's DNS server", h.DNSServers)
	add("a discovery server", h.DiscoveryServers)
	return out
}

// refusals are what peers may not have, but for those that allowances name.
type refusals struct {
	guarded    []protected
	allowances []Allowance
	own        []netip.Prefix // networks that this node itself leads to
	last       int            // added to the owner of a broad network: see settle
}

// allowed reports whether the node called label may have n all the same.
func (r *refusals) allowed(label string, n netip.Prefix) bool {
	return slices.ContainsFunc(r.allowances, func(a Allowance) bool {
		return a.Nodename == label && a.Prefix.Bits() <= n.Bits() && a.Prefix.Contains(n.Addr())
	})
}

// broad reports whether n is too broad for the node called label.
func (r *refusals) broad(label string, n netip.Prefix) bool {
	return n.Bits() < broadBits && !r.allowed(label, n.Masked())
}

// covered lists the protected addresses in want that the node called label may
// not have.
func (r *refusals) covered(label string, want []span) []protected {
	var out []protected
	for _, g := range r.guarded {
		covers := func(s span) bool { return s.from.Compare(g.address) <= 0 && g.address.Compare(s.to) <= 0 }
		if slices.ContainsFunc(want, covers) && !r.allowed(label, hostPrefix(g.address)) {
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
	cs.add(ConditionRouteRefused, p.displayName(),
		"%q (node %s) announces %s: that is not routed to it; allowedNetworks: [%s=%v] would allow it",
		p.displayName(), p.NodeID, strings.Join(parts, "; "), p.label, first)
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
