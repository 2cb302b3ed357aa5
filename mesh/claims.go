package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// reserved is what no peer may have beyond its own KubeSpan address: the
// cluster's /64, every address of this host, and special prefixes.
func reserved(in *Input) []span {
	var out []span
	for _, s := range specialPrefixes {
		out = append(out, spanOf(s.Prefix, nobody))
	}
	if in.Self.Subnet.IsValid() {
		out = append(out, spanOf(in.Self.Subnet, nobody))
	}
	if in.Self.Address.IsValid() {
		out = append(out, spanOf(hostPrefix(in.Self.Address), nobody))
	}
	for _, l := range in.Host.Links {
		for _, p := range l.Addresses {
			if a := p.Addr().Unmap(); a.IsValid() {
				out = append(out, spanOf(hostPrefix(a), nobody))
			}
		}
	}
	return out
}

// appendWanted appends what p announces, less what it excludes and what it is
// refused.
func (p *candidate) appendWanted(want []span, owner int, refuse *refusals, cs *conditions) []span {
	if len(p.Addresses) > maxPeerAddresses || len(p.AdditionalAddresses) > maxPeerAddresses || len(p.ExcludeAdvertisedNetworks) > maxPeerAddresses {
		cs.add(ConditionAffiliateTruncated, p.displayName(),
			"%q (node %s) announces %d addresses, %d additional and %d excluded networks; the first %d of each count",
			p.displayName(), p.NodeID, len(p.Addresses), len(p.AdditionalAddresses), len(p.ExcludeAdvertisedNetworks), maxPeerAddresses)
	}
	first := len(want)
	want, broad := p.appendNetworks(want, owner, refuse)
	guarded := refuse.covered(p.name, want[first:], false)
	own := len(want)
	for _, a := range bounded(p.Addresses, maxPeerAddresses) {
		// The KubeSpan address is claimed already, or must not be routed.
		if a = a.Unmap(); a.IsValid() && a != p.Address {
			want = append(want, spanOf(hostPrefix(a), owner))
		}
	}
	notOwn := refuse.covered(p.name, want[own:], true)
	p.reportRefused(broad, slices.Concat(guarded, notOwn), cs)
	excluded := p.excluded()
	addresses := cut(want, own, append(slices.Clip(excluded), addressesOf(notOwn)...))[own:]
	addresses = slices.Clone(addresses)
	want = cut(want[:own], first, append(excluded, addressesOf(guarded)...))
	if !refuse.hasRoom(want[first:], len(addresses)) {
		cs.add(ConditionAffiliateTruncated, p.displayName(),
			"the networks that %q (node %s) announces are too many prefixes, less what it excludes (%d for one node, %d in all): none of them is routed",
			p.displayName(), p.NodeID, maxPeerPrefixes, maxPrefixes)
		want = want[:first]
	}
	return append(want, addresses...)
}

// appendNetworks appends the networks that p leads to, and lists those that are
// too broad for it.
func (p *candidate) appendNetworks(want []span, owner int, refuse *refusals) (_ []span, broad []netip.Prefix) {
	first := len(want)
	for _, n := range bounded(p.AdditionalAddresses, maxPeerAddresses) {
		switch n = unmapPrefix(n); {
		case !n.IsValid():
		case refuse.broad(p.name, n):
			broad = append(broad, n)
		case n.Bits() < broadBits:
			want = append(want, spanOf(n, owner+refuse.last))
		default:
			want = append(want, spanOf(n, owner))
		}
	}
	return cut(want, first, refuse.own), broad
}

func (p *candidate) excluded() (out []netip.Prefix) {
	for _, n := range bounded(p.ExcludeAdvertisedNetworks, maxPeerAddresses) {
		if n = unmapPrefix(n); n.IsValid() {
			out = append(out, n)
		}
	}
	return out
}

// settle divides what n peers want. Broad networks, whose owners are n higher, are
// for what no other peer has: those of exit nodes don't take everybody's sites.
// Only what peers have lost of the same kind is contested.
func settle(want []span, n int) (had []span, contested [2]contest) {
	broad := slices.ContainsFunc(want, func(s span) bool { return s.owner >= n })
	all, lost := divide(want)
	if !broad {
		contested[0] = contest{lost, all}
		return all, contested
	}
	kind := func(s span) (int, span) {
		if s.owner < n {
			return 0, s
		}
		s.owner -= n
		return 1, s
	}
	for _, s := range lost {
		k, s := kind(s)
		contested[k].lost = append(contested[k].lost, s)
	}
	joined := make(spans, 0, len(all))
	for _, s := range all {
		k, s := kind(s)
		if len(contested[k].lost) > 0 {
			contested[k].had = append(contested[k].had, s)
		}
		joined.push(s)
	}
	return joined, contested
}

// contest is what was wanted by several, and who has it.
type contest struct{ lost, had []span }

// ownNetworks are those that this node leads to, so that no peer does. A peer may
// be in one: its own addresses are its all the same.
func ownNetworks(in *Input) (out []netip.Prefix) {
	for _, n := range in.Config.AdvertisedNetworks {
		if !in.Host.Netstack && n.Bits() >= broadBits { // a broad one is for what others don't have
			out = append(out, n)
		}
	}
	return out
}

// cut takes prefixes from want[first:].
func cut(want []span, first int, not []netip.Prefix) []span {
	if len(not) == 0 || first == len(want) {
		return want
	}
	less := slices.Clone(want[first:])
	for _, n := range not {
		less = append(less, spanOf(n, nobody))
	}
	rest, _ := divide(less)
	rest = slices.DeleteFunc(rest, func(s span) bool { return s.owner == nobody })
	return append(want[:first], rest...)
}

// reportOverlaps names both owners of what an earlier peer keeps. Every loser
// is one condition, however many winners there are.
func reportOverlaps(peers []candidate, had []span, c contest, cs *conditions) {
	const named = 3
	left := make([]bool, len(peers))
	for _, s := range had {
		if s.owner != nobody {
			left[s.owner] = true
		}
	}
	contested := c.lost
	sort.SliceStable(contested, func(i, j int) bool { return contested[i].owner < contested[j].owner })
	for start, end := 0, 0; start < len(contested); start = end {
		owner := contested[start].owner
		for end = start; end < len(contested) && contested[end].owner == owner; end++ {
		}
		if owner == nobody {
			continue
		}
		lost := losses(contested[start:end], c.had)
		if len(lost) == 0 {
			continue
		}
		var parts []string
		for _, l := range bounded(lost, named) {
			parts = append(parts, fmt.Sprintf("%v, which %q (node %s) keeps", l.prefix, peers[l.winner].displayName(), peers[l.winner].NodeID))
		}
		if more := len(lost) - named; more > 0 {
			parts = append(parts, fmt.Sprintf("and networks of %d more nodes", more))
		}
		if !left[owner] {
			parts = append(parts, "nothing else is left to it")
		}
		p := peers[owner]
		cs.add(ConditionNetworkOverlap, p.displayName(),
			"%q (node %s) announces %s; the lower node id wins; exclude it on one side with filters.excludeAdvertisedNetworks",
			p.displayName(), p.NodeID, strings.Join(parts, "; "))
	}
}
