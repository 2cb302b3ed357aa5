package mesh

import (
	"net/netip"
	"sort"

	"go4.org/netipx"
)

// Limits on what is used of one affiliate. A message of the discovery protocol has
// room for far less; other registries may have no such bound.
const (
	maxPeerEndpoints = 64
	maxPeerAddresses = 128 // and as many additional prefixes
)

// candidate is an affiliate that may become a peer.
type candidate struct {
	*Affiliate
	name    string     // the nodename, if it owns it
	label   string     // the name, or else the node id; may be empty
	address netip.Addr // the KubeSpan address to route to it; zero if none is safe
}

// peerSpecs turns affiliates, sorted by node id, into peers. Of two that claim an
// address the earlier one gets it.
func peerSpecs(in *Input, known *nodes, addrs []hostAddress, cs *conditions) []PeerSpec {
	peers := admit(in, known, cs)
	claimAddresses(in, peers, cs)
	reportOwnNetworks(in, peers, cs)
	reportAsymmetry(in, peers, known.local, cs)
	if !in.Host.Netstack { // a netstack has none of them, but another agent on this host may
		reportOwnAddresses(peers, addrs, cs)
	}
	rules := newClaimRules(in)
	claims := reserved(in)
	for i := range peers {
		claims = peers[i].appendClaims(claims, i, &rules, cs)
	}
	shares, contested := divide(claims)
	reportOverlaps(peers, shares, contested, cs)

	allowed := allowedIPs(peers, shares)
	specs := make([]PeerSpec, len(peers))
	for i := range peers {
		p := &peers[i]
		specs[i] = PeerSpec{
			PublicKey:  p.PublicKey,
			NodeID:     p.NodeID,
			Name:       p.name,
			Label:      p.label,
			Address:    p.address,
			AllowedIPs: allowed[i],
			Endpoints:  peerEndpoints(in, p.Affiliate, cs),
		}
	}
	sort.Slice(specs, func(i, j int) bool { return specs[i].PublicKey.Compare(specs[j].PublicKey) < 0 })
	return specs
}

// allowedIPs lists per peer, sorted, its KubeSpan address and its shares.
func allowedIPs(peers []candidate, shares []span) [][]netip.Prefix {
	size := make([]int, len(peers))
	for _, s := range shares {
		if s.owner != noOwner {
			size[s.owner.index]++
		}
	}
	allowed := make([][]netip.Prefix, len(peers))
	for i, p := range peers {
		allowed[i] = make([]netip.Prefix, 0, size[i]+1)
		if p.address.IsValid() {
			allowed[i] = append(allowed[i], hostPrefix(p.address))
		}
	}
	for _, s := range shares {
		if s.owner != noOwner {
			i := s.owner.index
			allowed[i] = netipx.IPRangeFrom(s.from, s.to).AppendPrefixes(allowed[i])
		}
	}
	for i, list := range allowed {
		if len(list) > 1 { // a broad share may be adjacent to others of the peer
			allowed[i] = aggregate(list)
		}
	}
	return allowed
}

// admit returns the affiliates that can be peers. Those without a public key, with
// this node's key or with that of an earlier node can't.
func admit(in *Input, known *nodes, cs *conditions) []candidate {
	peers := make([]candidate, 0, len(known.others))
	owner := make(map[Key]*Affiliate, len(known.others))
	for _, a := range known.others {
		switch first := owner[a.PublicKey]; {
		case a.PublicKey.IsZero():
		case a.PublicKey == in.Self.PublicKey:
			cs.add(ConditionDuplicatePublicKey, a.displayName(),
				"%q (node %s) announces this node's public key and can't be a peer; if one host is a copy of the other, delete %s on the copy",
				a.displayName(), a.NodeID, KubeSpanIdentityFile)
		case first != nil:
			cs.add(ConditionDuplicatePublicKey, a.displayName(),
				"%q (node %s) announces the public key of %q (node %s), which keeps it; if one host is a copy of the other, delete %s on the copy",
				a.displayName(), a.NodeID, first.displayName(), first.NodeID, KubeSpanIdentityFile)
		default:
			owner[a.PublicKey] = a
			peers = append(peers, candidate{Affiliate: a, name: a.name(known.names), label: a.label(known.names)})
		}
	}
	return peers
}

// claimAddresses sets each peer's KubeSpan address. Talos routes whatever is
// announced. Here the address must be in the cluster's /64 and no other node's, and
// nothing else inside the /64 is routed to a peer, so that no node can take over
// another's address. A peer may have an address of a link of this host, since
// several agents can share one host.
func claimAddresses(in *Input, peers []candidate, cs *conditions) {
	owner := make(map[netip.Addr]*Affiliate, len(peers))
	for i := range peers {
		p := &peers[i]
		switch first := owner[p.Address]; {
		case !p.Address.IsValid():
			cs.add(ConditionAddressUnusable, p.displayName(),
				"%q (node %s) announces no KubeSpan address", p.displayName(), p.NodeID)
		case !in.Self.Subnet.Contains(p.Address):
			cs.add(ConditionAddressUnusable, p.displayName(),
				"%q (node %s) has the KubeSpan address %v, which is not in this cluster's %v; it is not routed",
				p.displayName(), p.NodeID, p.Address, in.Self.Subnet)
		case p.Address == in.Self.Address:
			cs.add(ConditionDuplicateAddress, p.displayName(),
				"%q (node %s) has this node's KubeSpan address %v: the two have the same MAC address; set mac on one of them",
				p.displayName(), p.NodeID, p.Address)
		case first != nil:
			cs.add(ConditionDuplicateAddress, p.displayName(),
				"%q (node %s) has the KubeSpan address %v of %q (node %s), which keeps it: the two have the same MAC address; set mac on one of them",
				p.displayName(), p.NodeID, p.Address, first.displayName(), first.NodeID)
		default:
			owner[p.Address] = p.Affiliate
			p.address = p.Address
		}
	}
}

// reportOwnAddresses adds a condition for each address that a peer and this node
// both announce. It is never routed to the peer. Addresses that this node doesn't
// announce are ignored: that of docker0 is the same on many hosts.
func reportOwnAddresses(peers []candidate, addrs []hostAddress, cs *conditions) {
	own := make(map[netip.Addr]bool, len(addrs))
	for _, h := range addrs {
		own[h.prefix.Addr()] = true
	}
	for _, p := range peers {
		for _, a := range bounded(p.Addresses, maxPeerAddresses) {
			if a = a.Unmap(); own[a] {
				cs.add(ConditionDuplicateAddress, p.displayName(),
					"%q (node %s) announces %v, an address of this host; it is not routed (an earlier identity of this host expires within 30 minutes)",
					p.displayName(), p.NodeID, a)
			}
		}
	}
}

// peerEndpoints returns the usable endpoints of a, in the order of a. An endpoint
// inside the /64 of a mesh would send encrypted packets into a tunnel. One in a
// network that is routed to a peer is fine: the mark of encrypted packets keeps
// them out of the tunnel.
func peerEndpoints(in *Input, a *Affiliate, cs *conditions) []netip.AddrPort {
	if len(a.Endpoints) > maxPeerEndpoints {
		cs.add(ConditionAffiliateTruncated, a.displayName(),
			"%q (node %s) announces %d endpoints; only the first %d are used", a.displayName(), a.NodeID, len(a.Endpoints), maxPeerEndpoints)
	}
	var out []netip.AddrPort
	for _, ep := range bounded(a.Endpoints, maxPeerEndpoints) {
		ep = unmapAddrPort(ep)
		ip := ep.Addr()
		if !ip.IsValid() || ep.Port() == 0 || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
			continue
		}
		if in.Self.Subnet.Contains(ip) || IsKubeSpanULA(ip) {
			cs.add(ConditionEndpointInMesh, a.displayName(),
				"%q (node %s) announces the endpoint %v inside a mesh, which would send encrypted packets into a tunnel; it is not tried", a.displayName(), a.NodeID, ep)
			continue
		}
		out = appendNew(out, ep)
	}
	return out
}

func bounded[T any](list []T, limit int) []T { return list[:min(len(list), limit)] }
