package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
)

// hostDNS is the address of the host DNS of Talos, the same on every node.
var hostDNS = netip.MustParseAddr("fd54:616c:6f73:0:204f:5320:444e:531")

// plumbingKinds are the rtnetlink kinds of links that connect containers and
// overlays to the host. Their addresses are of no use to other nodes: they are
// the same on many hosts (docker0 is 172.17.0.1 everywhere), or belong to another
// overlay. Kinds that carry a host's own address (bond, vlan, macvlan, ipvlan,
// dummy and the like) are not among them.
var plumbingKinds = []string{"bridge", "veth", "tun", "vxlan", "wireguard"}

// hostAddress is an address of this host that is announced to other nodes.
type hostAddress struct {
	prefix       netip.Prefix
	link         string
	defaultRoute bool // a default route leaves by its link
	deprecated   bool // for connections that exist already
}

// AnnouncedByDefault reports whether a link's addresses are announced if no filter
// matches. A default route counts more than the kind: by that link a container
// (veth) or a bridged host reaches the world.
func (l *Link) AnnouncedByDefault() bool {
	return !l.Loopback && (l.DefaultRoute || !slices.Contains(plumbingKinds, l.Kind))
}

// announced reports whether addr on l is announced: the last filter that matches
// decides, or else the link.
func announced(l *Link, addr netip.Addr, filters []AddressFilter) bool {
	verdict := l.AnnouncedByDefault()
	for _, f := range filters {
		if f.Matches(l.Name, addr) {
			verdict = !f.Refuse
		}
	}
	return verdict
}

// hostAddresses returns the announced addresses of this host, each once and in
// the order of Talos, without the node's own KubeSpan address. Addresses of links
// that are down, and those that can't work elsewhere, are left out whatever the
// filters say.
func hostAddresses(in *Input) []hostAddress {
	var out []hostAddress
	for i := range in.Host.Links {
		l := &in.Host.Links[i]
		if !l.Up {
			continue
		}
		for _, p := range l.Addresses {
			p = unmapPrefix(p)
			a := p.Addr()
			if reachable(a) && !in.Self.Subnet.Contains(a) && !in.ofPods(l, a) && announced(l, a, in.Config.AddressFilters) {
				out = append(out, hostAddress{p, l.Name, l.DefaultRoute, l.isDeprecated(a)})
			}
		}
	}
	return sortHostAddresses(out)
}

// ofPods reports whether an address of a link belongs to this node's pods. As in Talos, it is
// no address of the node, except where the node reaches the world by that link.
func (in *Input) ofPods(l *Link, a netip.Addr) bool {
	return !l.DefaultRoute && slices.ContainsFunc(in.Host.PodNetworks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// isDeprecated reports whether an address of the link is deprecated.
func (l *Link) isDeprecated(a netip.Addr) bool {
	return slices.ContainsFunc(l.Deprecated, func(d netip.Addr) bool { return d.Unmap() == a })
}

// connectable returns the addresses to which others may open connections. Of those
// that are deprecated it has only those of a link without another one of the family.
func connectable(list []hostAddress) (out []hostAddress) {
	for i := range list {
		a, better := &list[i], false
		for k := range list {
			better = better || a.deprecated && !list[k].deprecated && a.sameKind(&list[k])
		}
		if !better {
			out = append(out, *a)
		}
	}
	return out
}

// sameKind reports whether two addresses are of one link and family.
func (a *hostAddress) sameKind(b *hostAddress) bool {
	return a.link == b.link && a.prefix.Addr().BitLen() == b.prefix.Addr().BitLen()
}

// HostAddresses returns the announced addresses of a host to which others may open
// connections, those of links with a default route first; see
// [Config].AddressFilters. A join token names them as addresses of the discovery
// server.
func HostAddresses(links []Link, filters []AddressFilter) []netip.Addr {
	all := connectable(hostAddresses(&Input{Host: Host{Links: links}, Config: Config{AddressFilters: filters}}))
	var routed, others, deprecated []netip.Addr
	for i := range all {
		switch a := all[i].prefix.Addr(); {
		case IsKubeSpanULA(a):
		case all[i].deprecated:
			deprecated = append(deprecated, a)
		case all[i].defaultRoute:
			routed = append(routed, a)
		default:
			others = append(others, a)
		}
	}
	return append(append(routed, others...), deprecated...)
}

// reachable reports whether another host could reach a.
func reachable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		!a.IsLinkLocalUnicast() && a != hostDNS
}

func sortHostAddresses(list []hostAddress) []hostAddress {
	// The order of Talos isn't transitive: equal sets give equal results only if
	// they are first brought into one total order.
	sort.Slice(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), b.prefix.Bits()-a.prefix.Bits(),
			falseLast(a.defaultRoute, b.defaultRoute), falseLast(b.deprecated, a.deprecated), cmp.Compare(a.link, b.link)) < 0
	})
	all := list
	list = all[:0]
	for i := range all {
		if n := len(list); n == 0 || list[n-1].prefix != all[i].prefix {
			list = append(list, all[i])
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return compareNodeAddresses(list[i].prefix, list[j].prefix) < 0 })
	return list
}

// compareNodeAddresses is the address order of Talos, version 2: IPv4 first; for
// equal addresses, the longer prefix first; if just one of the two networks
// contains the other address, the more specific network first; else by address.
func compareNodeAddresses(a, b netip.Prefix) int {
	if c := cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()); c != 0 {
		return c
	}
	if a.Addr() == b.Addr() {
		return b.Bits() - a.Bits()
	}
	switch inA, inB := a.Contains(b.Addr()), b.Contains(a.Addr()); {
	case inA && !inB:
		return 1
	case inB && !inA:
		return -1
	}
	return a.Addr().Compare(b.Addr())
}

func falseLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// unmapPrefix converts a prefix inside ::ffff:0:0/96 to IPv4 and returns any
// other as it is.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}

// appendNew appends, in order, the values that list lacks. Lists here have a
// handful of items.
func appendNew[T comparable](list []T, values ...T) []T {
	for _, v := range values {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}
