package mesh

import (
	"net/netip"
	"slices"
)

// Ranks of candidates. On-link addresses are best; an address of a private network that
// answers is that of a site. IPv6 is better than IPv4, which more often leads through a NAT.
const (
	rankOnLink = iota
	rankPrivate
	rankIPv6
	rankIPv4
	rankTransition   // tunnels and translation: 6to4, Teredo, NAT64
	rankRelayed      // by a relay of one side
	rankRelayedTwice // by those of both
)

var transition = []netip.Prefix{
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("64:ff9b::/96"),
}

// candidates ranks the endpoints of a peer, in its order, and those by relays of this node.
func candidates(in *Input, spec *PeerSpec, offers []Relay) []Candidate {
	out := make([]Candidate, len(spec.Endpoints))
	for i, ep := range spec.Endpoints {
		out[i] = Candidate{Endpoint: ep, Rank: rankOf(in.Host.Links, ep.Addr())}
		if slices.Contains(spec.relayed, ep) {
			out[i].Rank = rankRelayed
		}
	}
	return append(out, relayCandidates(in, spec, offers)...)
}

func rankOf(links []Link, a netip.Addr) int {
	switch {
	case a.IsLoopback() || onAnyLink(links, a):
		return rankOnLink
	case a.IsPrivate():
		return rankPrivate
	case a.Is4():
		return rankIPv4
	}
	for _, p := range transition {
		if p.Contains(a) {
			return rankTransition
		}
	}
	return rankIPv6
}

// RankRelayed is the first rank of candidates by a relay.
const RankRelayed = rankRelayed

// onAnyLink reports whether an address is in the subnet of a link that is up.
func onAnyLink(links []Link, a netip.Addr) bool {
	return anyAddress(links, func(l *Link, p netip.Prefix) bool {
		p = unmapPrefix(p)
		return l.Up && !p.IsSingleIP() && p.Contains(a)
	})
}
