package mesh

import (
	"net/netip"
	"slices"
)

// maxNamedEndpoints bounds the endpoints that a condition names.
const maxNamedEndpoints = 8

// localAffiliate returns what to publish about this node, whose announced
// addresses are addrs. It never has a control plane part, and its machine type is
// worker or unknown whatever the configuration says: Talos uses both to balance
// the load on the control plane.
func localAffiliate(in *Input, addrs []hostAddress, cs *conditions) (a Affiliate) {
	a = Affiliate{
		NodeID:          in.Self.NodeID,
		Hostname:        in.Host.Hostname,
		OperatingSystem: in.Host.OperatingSystem,
		MachineType:     MachineUnknown,
	}
	if in.Config.MachineType == MachineWorker {
		a.MachineType = MachineWorker
	}
	if in.meshing() {
		a.PublicKey = in.Self.PublicKey
		a.Address = in.Self.Address
		a.Record.Relayed = relayedEndpoints(in)
		if a.Record.Relay = in.Host.RelayPort; a.Record.Relay != 0 {
			a.Record.RelayNetworks = in.Config.RelayNetworks
		}
		a.Endpoints = append(localEndpoints(in, addrs, MaxEndpoints-len(a.Record.Relayed), cs), a.Record.Relayed...)
		a.AdditionalAddresses = localNetworks(in, cs)
		a.ExcludeAdvertisedNetworks = slices.Clone(in.Config.ExcludeAdvertisedNetworks)
	}
	a.Addresses = localAddresses(in, addrs, a.Endpoints, cs)
	return a
}

// localNetworks returns the networks behind this node, those of its pods last: none with a
// netstack, which can't forward.
func localNetworks(in *Input, cs *conditions) []netip.Prefix {
	networks, what := slices.Clone(in.Config.AdvertisedNetworks), "advertisedNetworks"
	if in.Config.AdvertisePodNetworks {
		networks = appendNew(networks, in.Host.PodNetworks...)
		if len(in.Config.AdvertisedNetworks) == 0 {
			what = "advertiseKubernetesNetworks"
		}
	}
	if in.Host.Netstack && len(networks) > 0 {
		cs.add(ConditionNetworksNotAdvertised, in.Self.NodeID,
			"%s needs the TUN backend: a netstack can't forward; the networks are not announced", what)
		return nil
	}
	return networks
}

// localAddresses lists the addresses at which others reach this node through the
// mesh. A netstack has none of its host's. Of more than MaxAddresses, those of the
// endpoints stay, and then the first.
func localAddresses(in *Input, addrs []hostAddress, endpoints []netip.AddrPort, cs *conditions) []netip.Addr {
	list := addrs
	if in.Host.Netstack {
		list = nil
	}
	if in.meshing() {
		own := hostAddress{prefix: netip.PrefixFrom(in.Self.Address, in.Self.Subnet.Bits())}
		list = sortHostAddresses(append(slices.Clip(list), own))
	}
	var out []netip.Addr
	for _, h := range list {
		out = appendNew(out, h.prefix.Addr())
	}
	if len(out) <= MaxAddresses {
		return out
	}
	all, room := len(out), MaxAddresses-len(endpoints)-1
	out = slices.DeleteFunc(out, func(a netip.Addr) bool {
		if a == in.Self.Address || slices.ContainsFunc(endpoints, func(ep netip.AddrPort) bool { return ep.Addr() == a }) {
			return false
		}
		room--
		return room < 0
	})
	cs.add(ConditionAffiliateTruncated, in.localName(),
		"this node has %d addresses and announces %d; the others are not reached through the mesh; choose with addressFilters", all, len(out))
	return out
}

// localName is what conditions about this node itself call it.
func (in *Input) localName() string {
	self := Affiliate{NodeID: in.Self.NodeID, Nodename: in.Host.Nodename}
	return self.displayName()
}

// localEndpoints lists where others may send encrypted packets to. The most
// promising come first, since Talos tries one in 15 to 30 s: configured endpoints,
// addresses of links with a default route, those that the gateway maps and those
// that STUN servers and discovery services saw, the rest, and deprecated ones; at most
// so many. Filters apply to all but configured endpoints.
func localEndpoints(in *Input, addrs []hostAddress, most int, cs *conditions) []netip.AddrPort {
	var out []netip.AddrPort
	for _, ep := range in.Config.ExtraAnnouncedEndpoints {
		if ep = Plain(ep); ep.IsValid() && ep.Port() != 0 {
			out = appendNew(out, ep)
		}
	}
	if in.Host.ListenPort != 0 {
		candidates := endpointAddresses(in, connectable(addrs))
		if in.Config.EndpointFilters != nil {
			candidates = FilterAddrs(candidates, in.Config.EndpointFilters)
		}
		mapped := mappedEndpoints(in)
		for _, a := range candidates {
			at := len(out)
			for _, ep := range mapped {
				if ep.Addr() == a {
					out = appendNew(out, ep)
				}
			}
			if len(out) == at {
				out = appendNew(out, netip.AddrPortFrom(a, in.Host.ListenPort))
			}
		}
	}
	if len(out) <= most {
		return out
	}
	kept, cut := cutEndpoints(out, addrs, most)
	cs.add(ConditionEndpointsTruncated, in.localName(),
		"this node has %d endpoints and announces %d; left out: %s; choose with filters.endpoints", len(out), most, Listed(cut, maxNamedEndpoints))
	return kept
}

// cutEndpoints returns the endpoints that are announced, in their order, and those
// that are left out. The last are left out first, but of each link and family one
// stays as long as there are others with company.
func cutEndpoints(all []netip.AddrPort, addrs []hostAddress, most int) (kept []netip.AddrPort, cut []string) {
	var firsts []*hostAddress
	var seconds []netip.AddrPort
	for _, ep := range all {
		switch at := hostAddressOf(addrs, ep.Addr()); {
		case at == nil: // configured, or as a discovery service sees it
		case slices.ContainsFunc(firsts, at.sameKind):
			seconds = append(seconds, ep)
		default:
			firsts = append(firsts, at)
		}
	}
	drop := map[netip.AddrPort]bool{}
	for _, second := range []bool{true, false} {
		for _, ep := range slices.Backward(all) {
			if len(drop) < len(all)-most && slices.Contains(seconds, ep) == second {
				drop[ep] = true
			}
		}
	}
	for _, ep := range all {
		if drop[ep] {
			cut = append(cut, ep.String())
		} else {
			kept = append(kept, ep)
		}
	}
	return kept, cut
}

// hostAddressOf returns the first of addrs that is a; nil if none is.
func hostAddressOf(addrs []hostAddress, a netip.Addr) *hostAddress {
	for i := range addrs {
		if addrs[i].prefix.Addr() == a {
			return &addrs[i]
		}
	}
	return nil
}

// endpointAddresses returns addresses for endpoints, the best first.
func endpointAddresses(in *Input, addrs []hostAddress) []netip.Addr {
	var first, rest, deprecated []netip.Addr
	for _, h := range addrs {
		a := h.prefix.Addr()
		switch {
		case h.deprecated:
			deprecated = appendNew(deprecated, a)
		case h.defaultRoute:
			first = appendNew(first, a)
		default:
			rest = appendNew(rest, a)
		}
	}
	var outside []netip.Addr
	for _, ep := range mappedEndpoints(in) {
		outside = appendNew(outside, ep.Addr())
	}
	outside = appendNew(outside, publicAddresses(in)...)
	return appendNew(appendNew(appendNew(first, outside...), rest...), deprecated...)
}

// mappedEndpoints returns where the gateway maps this node's port, and where STUN servers saw
// it. As for publicAddresses, those at an address of a link are left out.
func mappedEndpoints(in *Input) []netip.AddrPort {
	var out []netip.AddrPort
	for _, ep := range in.Host.MappedEndpoints {
		if ep = Plain(ep); ep.Port() != 0 && seenOutside(in, ep.Addr()) {
			out = appendNew(out, ep)
		}
	}
	return out
}

// publicAddresses returns the addresses from which discovery services saw this
// node connect. Those that a link of this host has are left to the rules for that
// link: a service in a container here sees the address of docker0, and a service
// in the mesh sees this node's ULA.
func publicAddresses(in *Input) []netip.Addr {
	var out []netip.Addr
	for _, a := range in.Host.PublicAddresses {
		if a = a.Unmap().WithZone(""); seenOutside(in, a) {
			out = appendNew(out, a)
		}
	}
	return out
}

// seenOutside reports whether an address at which a server saw this node may be announced.
func seenOutside(in *Input, a netip.Addr) bool {
	return reachable(a) && !in.Self.Subnet.Contains(a) && !hasAddress(in.Host.Links, a)
}

// hasAddress reports whether this host has an address.
func hasAddress(links []Link, a netip.Addr) bool {
	return anyAddress(links, func(_ *Link, p netip.Prefix) bool { return p.Addr().Unmap() == a })
}

// anyAddress reports whether links have an address for which f holds.
func anyAddress(links []Link, f func(l *Link, p netip.Prefix) bool) bool {
	for i := range links {
		for _, p := range links[i].Addresses {
			if f(&links[i], p) {
				return true
			}
		}
	}
	return false
}
