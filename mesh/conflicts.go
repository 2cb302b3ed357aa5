package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// reportOverlaps adds one condition per peer that announces what other peers have,
// with the names of both sides. Claims of different ranks don't conflict: a broad
// network is meant for what is left.
func reportOverlaps(peers []candidate, shares, contested []span, cs *conditions) {
	const named = 3
	hasShare := make([]bool, len(peers))
	var broad []span
	for i := range shares {
		s := &shares[i]
		if s.owner != noOwner {
			hasShare[s.owner.index] = true
		}
		if s.owner.rank.broad() {
			broad = append(broad, *s)
		}
	}
	sort.SliceStable(contested, func(i, j int) bool { return contested[i].owner.before(contested[j].owner) })
	for start, end := 0, 0; start < len(contested); start = end {
		loser := contested[start].owner
		for end = start; end < len(contested) && contested[end].owner == loser; end++ {
		}
		if loser == noOwner || peers[loser.index].pin != nil {
			continue
		}
		rivals := shares
		if loser.rank.broad() { // it covers nearly all shares, most of them of no interest
			rivals = broad
		}
		lost := losses(contested[start:end], rivals)
		if len(lost) == 0 {
			continue
		}
		var parts []string
		for _, l := range bounded(lost, named) {
			winner := &peers[l.winner]
			parts = append(parts, fmt.Sprintf("%v, which %q (node %s) keeps", l.prefix, winner.displayName(), winner.NodeID))
		}
		if more := len(lost) - named; more > 0 {
			parts = append(parts, fmt.Sprintf("and networks of %d more nodes", more))
		}
		if !hasShare[loser.index] {
			parts = append(parts, "nothing else is routed to it")
		}
		p := &peers[loser.index]
		cs.about(p.Affiliate, ConditionNetworkOverlap,
			"announces %s; the first one seen keeps it; exclude it on one side with filters.excludeAdvertisedNetworks", strings.Join(parts, "; "))
	}
}

// reportOwnNetworks adds a condition for each network of a peer that overlaps one
// behind this node, which keeps it.
func reportOwnNetworks(in *Input, peers []candidate, cs *conditions) {
	owned := ownNetworks(in)
	for i := range peers {
		p := &peers[i]
		for _, n := range bounded(p.AdditionalAddresses, maxPeerAddresses) {
			n = unmapPrefix(n)
			own := slices.IndexFunc(owned, func(o netip.Prefix) bool { return n.IsValid() && o.Overlaps(n) })
			if own >= 0 && !IsBroad(n) {
				cs.about(p.Affiliate, ConditionNetworkOverlap,
					"announces %v, which overlaps %v of this node (%s); here it is not routed to the peer; advertise it on one node only",
					n.Masked(), owned[own], in.Self.NodeID)
			}
		}
	}
}

// reportAsymmetry adds a condition for each network that only one side keeps out
// of the tunnel: replies then take another way than the packets.
func reportAsymmetry(in *Input, peers []candidate, local *Affiliate, cs *conditions) {
	ours := in.Config.ExcludeAdvertisedNetworks
	for i := range peers {
		p := &peers[i]
		theirs := bounded(p.ExcludeAdvertisedNetworks, maxPeerAddresses)
		if x, ok := lopsided(ours, theirs, p.Affiliate); ok {
			cs.add(ConditionAsymmetricExclusion, p.displayName(),
				"this node excludes %v, but %q (node %s), which has addresses there, does not; set the same filters.excludeAdvertisedNetworks on both", x, p.displayName(), p.NodeID)
		}
		if x, ok := lopsided(theirs, ours, local); ok {
			cs.about(p.Affiliate, ConditionAsymmetricExclusion,
				"excludes %v, but this node, which has addresses there, does not; set the same filters.excludeAdvertisedNetworks on both", x)
		}
	}
}

// lopsided returns a network among the exclusions of one side in which the other
// side announces something that its own exclusions don't cover.
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
