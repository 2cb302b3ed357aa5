package mesh

import (
	"net/netip"
	"slices"
	"sort"
)

// Path says where packets for a network go, and why.
type Path string

// Paths.
const (
	PathMesh     Path = "mesh"     // a KubeSpan address: by the /64 on the link
	PathTunnel   Path = "tunnel"   // by the policy route
	PathDown     Path = "down"     // past the tunnel: the peer is not up, and traffic need not wait for it
	PathExcluded Path = "excluded" // past the tunnel: this node excludes it
	PathSite     Path = "site"     // past the tunnel: it is on this node's site
	PathUnrouted Path = "unrouted" // past the tunnel: this node routes nothing (firewall.enabled is false)
)

// Route is a network of a peer, all of which takes one path: a network whose parts
// take different paths is several routes.
type Route struct {
	Prefix netip.Prefix
	Peer   int // index into Plan.Specs
	Path   Path
}

// bypass is a network that goes past the tunnel although a peer has it.
type bypass struct {
	prefix netip.Prefix
	path   Path
}

// routes returns the path of every network that peers have. Packets for a network
// whose path is the tunnel must never take another way.
func routes(in *Input, specs []PeerSpec, statuses []PeerStatus) []Route {
	common := bypasses(in)
	size := 0
	for i := range specs {
		size += len(specs[i].AllowedIPs)
	}
	out := make([]Route, 0, size)
	for i := range specs {
		down := !in.Config.ForceRouting && statuses[i].State != PeerStateUp
		around := appendNeighbour(common, in, &statuses[i])
		for _, p := range specs[i].AllowedIPs {
			r := Route{p, i, PathTunnel}
			switch {
			case IsKubeSpanULA(p.Addr()):
				r.Path = PathMesh
			case in.Config.NoRouting:
				r.Path = PathUnrouted
			case down:
				r.Path = PathDown
			case overlapped(p, around):
				out = appendParts(out, r, around)
				continue
			}
			out = append(out, r)
		}
	}
	sort.Slice(out, func(i, j int) bool { return compareDisjoint(out[i].Prefix, out[j].Prefix) < 0 })
	return out
}

// overlapped reports whether a bypass overlaps a network.
func overlapped(p netip.Prefix, around []bypass) bool {
	for i := range around {
		if around[i].prefix.Overlaps(p) {
			return true
		}
	}
	return false
}

// appendParts divides a route along the bypasses that overlap it. Where several
// do, the first wins.
func appendParts(out []Route, whole Route, around []bypass) []Route {
	rest := ownerOf(len(around))
	claims := appendSpan(nil, whole.Prefix, rest)
	for i := range around {
		b := &around[i]
		if b.prefix.Overlaps(whole.Prefix) {
			part := b.prefix
			if part.Bits() < whole.Prefix.Bits() {
				part = whole.Prefix
			}
			claims = appendSpan(claims, part, ownerOf(i))
		}
	}
	parts, _ := divide(claims)
	for i := range parts {
		s := &parts[i]
		r := whole
		if s.owner != rest {
			r.Path = around[s.owner.index].path
		}
		for _, p := range s.prefixes() {
			r.Prefix = p
			out = append(out, r)
		}
	}
	return out
}

// bypasses returns the networks that this node excludes, and the site networks in
// which it has an address.
func bypasses(in *Input) []bypass {
	var out []bypass
	for _, n := range in.Config.ExcludeAdvertisedNetworks {
		if n = unmapPrefix(n); n.IsValid() {
			out = append(out, bypass{n.Masked(), PathExcluded})
		}
	}
	for _, n := range in.Config.SiteNetworks {
		if anyAddress(in.Host.Links, func(l *Link, p netip.Prefix) bool { return l.Up && n.Contains(p.Addr().Unmap()) }) {
			out = append(out, bypass{n, PathSite})
		}
	}
	return slices.Clip(out)
}

// appendNeighbour appends the address of a peer whose tunnel runs over an on-link
// subnet. The handshakes prove that the peer is there, so its packets can't reach
// another host with that address at another site.
func appendNeighbour(around []bypass, in *Input, s *PeerStatus) []bypass {
	a := s.Endpoint.Addr()
	if in.Config.SiteOnLink && s.State == PeerStateUp && a.IsValid() && onLink(in.Host.Links, a) {
		return append(around, bypass{hostPrefix(a), PathSite})
	}
	return around
}

// onLink reports whether a is in the subnet of a link that is announced by default.
func onLink(links []Link, a netip.Addr) bool {
	return anyAddress(links, func(l *Link, p netip.Prefix) bool {
		return l.Up && l.AnnouncedByDefault() && unmapPrefix(p).Contains(a)
	})
}

// routed returns what the firewall sends into the tunnel: networks of peers, and
// held ones, which no peer has.
func routed(routes []Route, held []Held) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(routes)+len(held))
	for i := range held {
		all = append(all, held[i].Prefix)
	}
	for i := range routes {
		if routes[i].Path == PathTunnel {
			all = append(all, routes[i].Prefix)
		}
	}
	return aggregate(all)
}

// returnByTunnel reports whether packets from a peer may have a source address
// that is not routed into the tunnel.
func returnByTunnel(cfg *Config, routes []Route) bool {
	if !cfg.ForceRouting {
		return true
	}
	for i := range routes {
		if p := routes[i].Path; p == PathExcluded || p == PathSite {
			return true
		}
	}
	return false
}
