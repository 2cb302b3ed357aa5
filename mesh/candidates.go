package mesh

import "net/netip"

// Ranks of candidates. On-link addresses are best; an address of a private network that
// answers is that of a site. IPv6 is better than IPv4, which more often leads through a NAT.
const (
	rankOnLink = iota
	rankPrivate
	rankIPv6
	rankIPv4
	rankTransition // tunnels and translation: 6to4, Teredo, NAT64
)

var transition = []netip.Prefix{
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("64:ff9b::/96"),
}

// candidates ranks the endpoints of a peer, in its order.
func candidates(links []Link, endpoints []netip.AddrPort) []Candidate {
	out := make([]Candidate, len(endpoints))
	for i, ep := range endpoints {
		out[i] = Candidate{Endpoint: ep, Rank: rankOf(links, ep.Addr())}
	}
	return out
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

// onAnyLink reports whether an address is in the subnet of a link that is up.
func onAnyLink(links []Link, a netip.Addr) bool {
	for i := range links {
		if !links[i].Up {
			continue
		}
		for _, p := range links[i].Addresses {
			if p = unmapPrefix(p); !p.IsSingleIP() && p.Contains(a) {
				return true
			}
		}
	}
	return false
}
