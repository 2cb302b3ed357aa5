package mesh

import (
	"net/netip"
	"slices"
	"sort"

	"go4.org/netipx"
)

// reserved returns what no peer may have beyond its own KubeSpan address: the
// cluster's /64, every address of this host, and special prefixes.
func reserved(in *Input) []span {
	var out []span
	for i := range specialPrefixes {
		out = appendSpan(out, specialPrefixes[i].Prefix, noOwner)
	}
	if in.Self.Subnet.IsValid() {
		out = appendSpan(out, in.Self.Subnet, noOwner)
	}
	if in.Self.Address.IsValid() {
		out = appendSpan(out, hostPrefix(in.Self.Address), noOwner)
	}
	for i := range in.Host.Links {
		for _, p := range in.Host.Links[i].Addresses {
			if a := p.Addr().Unmap(); a.IsValid() {
				out = appendSpan(out, hostPrefix(a), noOwner)
			}
		}
	}
	return out
}

// appendClaims appends what peer p, the index-th, announces, without what it
// excludes and what the rules refuse it. If its networks are too many, it keeps those that
// it has, and the others are held.
func (p *candidate) appendClaims(claims []span, index int, rules *claimRules, cs *conditions) (_ []span, beyond []netip.Prefix) {
	if len(p.Addresses) > maxPeerAddresses || len(p.AdditionalAddresses) > maxPeerAddresses || len(p.ExcludeAdvertisedNetworks) > maxPeerAddresses {
		cs.about(p.Affiliate, ConditionAffiliateTruncated,
			"announces %d addresses, %d additional and %d excluded networks; only the first %d of each are used",
			len(p.Addresses), len(p.AdditionalAddresses), len(p.ExcludeAdvertisedNetworks), maxPeerAddresses)
	}
	first := len(claims)
	claims, refused := p.appendNetworks(claims, index, rules)
	inNetworks := rules.protectedIn(claims[first:], p.name, false)
	own := len(claims)
	claims = p.appendAddresses(claims, index, rules)
	inAddresses := rules.protectedIn(claims[own:], p.name, true)
	p.reportRefused(refused, append(slices.Clip(inNetworks), inAddresses...), cs)
	excluded := p.excluded()
	addresses := cut(claims, own, append(slices.Clip(excluded), addressesOf(inAddresses)...))[own:]
	addresses = slices.Clone(addresses)
	not := append(excluded, addressesOf(inNetworks)...)
	claims = cut(claims[:own], first, not)
	if !rules.fits(claims[first:]) {
		cs.add(ConditionAffiliateTruncated, p.displayName(),
			"the networks that %q (node %s) announces, less those it excludes, are too many prefixes (the limit is %d for one node and %d in all, of which each node has its share): only those that it had before are routed",
			p.displayName(), p.NodeID, maxPeerPrefixes, maxPrefixes)
		beyond = p.announced(rules)
		claims = append(claims[:first], p.incumbent(claims[first:])...)
	}
	return p.strengthen(append(claims, addresses...), first), beyond
}

// announced returns the networks that the peer announces and may have.
func (p *candidate) announced(rules *claimRules) (out []netip.Prefix) {
	for _, n := range bounded(p.AdditionalAddresses, maxPeerAddresses) {
		if n = unmapPrefix(n); n.IsValid() && (!needsAllowance(n) || rules.allowed(p.name, n.Masked())) {
			out = append(out, n.Masked())
		}
	}
	return out
}

// appendAddresses appends the peer's own addresses. A public one is routed to it only
// once it has answered there, or if the configuration allows it: anyone can announce any.
func (p *candidate) appendAddresses(claims []span, index int, rules *claimRules) []span {
	for _, a := range bounded(p.Addresses, maxPeerAddresses) {
		// The KubeSpan address is claimed already, or must not be routed.
		a = a.Unmap()
		if a.IsValid() && a != p.Address && (isPrivate(a) || slices.Contains(p.reached, a) || rules.allowed(p.name, hostPrefix(a))) {
			claims = appendSpan(claims, hostPrefix(a), ownerOf(index))
		}
	}
	return claims
}

// strengthen makes incumbents of the claims that the peer has already, or appends the
// parts of them that it has.
func (p *candidate) strengthen(claims []span, first int) []span {
	for i, n := first, len(claims); i < n; i++ {
		s, has := claims[i], p.has
		if s.owner.rank.broad() {
			has = p.hasBroad
		}
		at := sort.Search(len(has), func(i int) bool { return s.from.Compare(has[i].Addr()) <= 0 })
		for at = max(at-1, 0); at < len(has) && has[at].Addr().Compare(s.to) <= 0; at++ {
			r := netipx.RangeOfPrefix(has[at])
			switch {
			case r.To().Less(s.from):
			case r.From().Compare(s.from) <= 0 && s.to.Compare(r.To()) <= 0:
				claims[i].owner.rank = incumbency(s.owner.rank)
			default:
				claims = append(claims, span{later(r.From(), s.from), earlier(r.To(), s.to), owner{incumbency(s.owner.rank), s.owner.index}})
			}
		}
	}
	return claims
}

func incumbency(r rank) rank {
	if r.broad() {
		return rankBroadIncumbent
	}
	return rankIncumbent
}

// incumbent returns the parts of claims that the peer has already.
func (p *candidate) incumbent(claims []span) (out []span) {
	for _, s := range p.strengthen(slices.Clip(claims), 0) {
		if s.owner.rank == rankIncumbent || s.owner.rank == rankBroadIncumbent {
			out = append(out, s)
		}
	}
	return out
}

// appendNetworks appends the networks behind p, and lists those that need an allowance
// which it does not have.
func (p *candidate) appendNetworks(claims []span, index int, rules *claimRules) (_ []span, refused []netip.Prefix) {
	first := len(claims)
	for _, n := range bounded(p.AdditionalAddresses, maxPeerAddresses) {
		switch n = unmapPrefix(n); {
		case !n.IsValid():
		case needsAllowance(n) && !rules.allowed(p.name, n.Masked()):
			refused = append(refused, n)
		case IsBroad(n):
			claims = appendSpan(claims, n, owner{rankBroad, int32(index)})
		default:
			claims = appendSpan(claims, n, ownerOf(index))
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
		all = appendSpan(all, n, noOwner)
	}
	rest, _ := divide(all)
	claims = claims[:first]
	for i := range rest {
		if rest[i].owner != noOwner {
			claims = append(claims, rest[i])
		}
	}
	return claims
}
