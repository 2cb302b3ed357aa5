package mesh

import (
	"net/netip"
	"slices"
)

// reserved returns what no peer may have beyond its own KubeSpan address: the
// cluster's /64, every address of this host, and special prefixes.
func reserved(in *Input) []span {
	var out []span
	for _, s := range specialPrefixes {
		out = append(out, spanOf(s.Prefix, noOwner))
	}
	if in.Self.Subnet.IsValid() {
		out = append(out, spanOf(in.Self.Subnet, noOwner))
	}
	if in.Self.Address.IsValid() {
		out = append(out, spanOf(hostPrefix(in.Self.Address), noOwner))
	}
	for _, l := range in.Host.Links {
		for _, p := range l.Addresses {
			if a := p.Addr().Unmap(); a.IsValid() {
				out = append(out, spanOf(hostPrefix(a), noOwner))
			}
		}
	}
	return out
}

// appendClaims appends what peer p, the index-th, announces, without what it
// excludes and what the rules refuse it.
func (p *candidate) appendClaims(claims []span, index int, rules *claimRules, cs *conditions) []span {
	if len(p.Addresses) > maxPeerAddresses || len(p.AdditionalAddresses) > maxPeerAddresses || len(p.ExcludeAdvertisedNetworks) > maxPeerAddresses {
		cs.add(ConditionAffiliateTruncated, p.displayName(),
			"%q (node %s) announces %d addresses, %d additional and %d excluded networks; only the first %d of each are used",
			p.displayName(), p.NodeID, len(p.Addresses), len(p.AdditionalAddresses), len(p.ExcludeAdvertisedNetworks), maxPeerAddresses)
	}
	first := len(claims)
	claims, broad := p.appendNetworks(claims, index, rules)
	inNetworks := rules.protectedIn(claims[first:], p.name, false)
	own := len(claims)
	for _, a := range bounded(p.Addresses, maxPeerAddresses) {
		// The KubeSpan address is claimed already, or must not be routed.
		if a = a.Unmap(); a.IsValid() && a != p.Address {
			claims = append(claims, spanOf(hostPrefix(a), ownerOf(index)))
		}
	}
	inAddresses := rules.protectedIn(claims[own:], p.name, true)
	p.reportRefused(broad, slices.Concat(inNetworks, inAddresses), cs)
	excluded := p.excluded()
	addresses := cut(claims, own, append(slices.Clip(excluded), addressesOf(inAddresses)...))[own:]
	addresses = slices.Clone(addresses)
	claims = cut(claims[:own], first, append(excluded, addressesOf(inNetworks)...))
	if !rules.takeRoom(claims[first:], len(addresses)) {
		cs.add(ConditionAffiliateTruncated, p.displayName(),
			"the networks that %q (node %s) announces, less those it excludes, are too many prefixes (the limit is %d for one node and %d in all): none of them is routed",
			p.displayName(), p.NodeID, maxPeerPrefixes, maxPrefixes)
		claims = claims[:first]
	}
	return append(claims, addresses...)
}

// appendNetworks appends the networks behind p, and lists those that are too
// broad for it.
func (p *candidate) appendNetworks(claims []span, index int, rules *claimRules) (_ []span, refused []netip.Prefix) {
	first := len(claims)
	for _, n := range bounded(p.AdditionalAddresses, maxPeerAddresses) {
		switch n = unmapPrefix(n); {
		case !n.IsValid():
		case !isBroad(n):
			claims = append(claims, spanOf(n, ownerOf(index)))
		case rules.allowed(p.name, n.Masked()):
			claims = append(claims, spanOf(n, owner{rankBroad, int32(index)}))
		default:
			refused = append(refused, n)
		}
	}
	return cut(claims, first, rules.own), refused
}

func (p *candidate) excluded() (out []netip.Prefix) {
	for _, n := range bounded(p.ExcludeAdvertisedNetworks, maxPeerAddresses) {
		if n = unmapPrefix(n); n.IsValid() {
			out = append(out, n)
		}
	}
	return out
}

// cut takes prefixes out of claims[first:].
func cut(claims []span, first int, not []netip.Prefix) []span {
	if len(not) == 0 || first == len(claims) {
		return claims
	}
	all := slices.Clone(claims[first:])
	for _, n := range not {
		all = append(all, spanOf(n, noOwner))
	}
	rest, _ := divide(all)
	rest = slices.DeleteFunc(rest, func(s span) bool { return s.owner == noOwner })
	return append(claims[:first], rest...)
}
