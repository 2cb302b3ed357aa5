package mesh

import (
	"net/netip"
	"slices"
	"strings"
)

// localAffiliate is what to publish of this node. addrs are its announced
// addresses. It never has a control plane part and its machine type is worker
// or unknown, whatever the configuration says: Talos feeds control-plane load
// balancing from both.
func localAffiliate(in *Input, addrs []hostAddress, cs *conditions) Affiliate {
	a := Affiliate{
		NodeID:          in.Self.NodeID,
		Addresses:       localAddresses(in, addrs),
		Hostname:        in.Host.Hostname,
		OperatingSystem: in.Host.OperatingSystem,
		MachineType:     MachineUnknown,
	}
	if in.Config.MachineType == MachineWorker {
		a.MachineType = MachineWorker
	}
	if in.Config.AnnounceAsMember {
		a.Nodename = in.Host.Nodename
	}
	if in.meshing() {
		a.PublicKey = in.Self.PublicKey
		a.Address = in.Self.Address
		a.Endpoints = localEndpoints(in, addrs, cs)
		a.AdditionalAddresses = localNetworks(in, cs)
		a.ExcludeAdvertisedNetworks = slices.Clone(in.Config.ExcludeAdvertisedNetworks)
	}
	return a
}

// localNetworks are those that this node leads to. A netstack forwards nothing.
func localNetworks(in *Input, cs *conditions) []netip.Prefix {
	if in.Host.Netstack && len(in.Config.AdvertisedNetworks) > 0 {
		cs.add(ConditionNetworksNotAdvertised, in.Self.NodeID,
			"advertisedNetworks needs the TUN backend: a netstack can't forward; the networks are not announced")
		return nil
	}
	return slices.Clone(in.Config.AdvertisedNetworks)
}

// localAddresses lists the addresses under which others reach this node through
// the mesh. The stack of a netstack node holds none of its host's.
func localAddresses(in *Input, addrs []hostAddress) []netip.Addr {
	list := addrs
	if in.Host.Netstack {
		list = nil
	}
	if in.meshing() {
		own := hostAddress{prefix: netip.PrefixFrom(in.Self.Address, in.Self.Subnet.Bits())}
		list = sortHostAddresses(append(slices.Clone(list), own))
	}
	var out []netip.Addr
	for _, h := range list {
		out = appendNew(out, h.prefix.Addr())
	}
	return out
}

// localEndpoints lists where others may send encrypted packets to, the most
// promising first, since Talos tries one in 15 to 30 s: what the operator said,
// then the addresses next to a default route, then those that discovery saw us
// come from, then the rest. Filters spare only what the operator said.
func localEndpoints(in *Input, addrs []hostAddress, cs *conditions) []netip.AddrPort {
	var out []netip.AddrPort
	for _, ep := range in.Config.ExtraAnnouncedEndpoints {
		if ep = unmapAddrPort(ep); ep.IsValid() && ep.Port() != 0 {
			out = appendNew(out, ep)
		}
	}
	if in.Host.ListenPort != 0 {
		candidates := endpointAddresses(in, addrs)
		if in.Config.EndpointFilters != nil {
			candidates = FilterAddrs(candidates, in.Config.EndpointFilters)
		}
		for _, a := range candidates {
			out = appendNew(out, netip.AddrPortFrom(a, in.Host.ListenPort))
		}
	}
	if len(out) <= MaxEndpoints {
		return out
	}
	var cut []string
	for _, ep := range out[MaxEndpoints:] {
		cut = append(cut, ep.String())
	}
	self := Affiliate{NodeID: in.Self.NodeID, Nodename: in.Host.Nodename}
	cs.add(ConditionEndpointsTruncated, self.displayName(),
		"this node has %d endpoints and announces the first %d; left out: %s; choose with filters.endpoints",
		len(out), MaxEndpoints, strings.Join(cut, ", "))
	return slices.Clip(out[:MaxEndpoints])
}

func endpointAddresses(in *Input, addrs []hostAddress) []netip.Addr {
	var first, rest []netip.Addr
	for _, h := range addrs {
		if h.defaultRoute {
			first = appendNew(first, h.prefix.Addr())
		} else {
			rest = appendNew(rest, h.prefix.Addr())
		}
	}
	return appendNew(appendNew(first, publicAddresses(in)...), rest...)
}

// publicAddresses are those that discovery services saw us come from. One that
// a link of this host holds is left to the rules for that link: a service in a
// container here sees us come from docker0, one in the mesh from our ULA.
func publicAddresses(in *Input) []netip.Addr {
	var out []netip.Addr
	for _, a := range in.Host.PublicAddresses {
		a = a.Unmap().WithZone("")
		if reachable(a) && !in.Self.Subnet.Contains(a) && !heldBy(in.Host.Links, a) {
			out = appendNew(out, a)
		}
	}
	return out
}

func heldBy(links []Link, a netip.Addr) bool {
	return slices.ContainsFunc(links, func(l Link) bool {
		return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().Unmap() == a })
	})
}

func unmapAddrPort(ep netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ep.Addr().Unmap(), ep.Port())
}
