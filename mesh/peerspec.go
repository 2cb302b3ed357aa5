package mesh

import (
	"net/netip"
	"slices"
	"sort"
	"time"

	"go4.org/netipx"
)

// Limits on what is used of one affiliate. A message of the discovery protocol has
// room for far less; other registries may have no such bound.
const (
	maxPeerEndpoints = 64
	maxPeerAddresses = 128 // and as many additional prefixes
)

// candidate is an affiliate that may become a peer, or a node that is gone and whose
// networks are held.
type candidate struct {
	*Affiliate
	name     string         // the nodename, if it owns it
	label    string         // the name, or else the node id; may be empty
	address  netip.Addr     // the KubeSpan address to route to it; zero if none is safe
	has      []netip.Prefix // its pin's networks, disjoint and sorted
	hasBroad []netip.Prefix // those of them that are broad
	live     netip.Addr     // where its session is; zero without one
	reached  []netip.Addr   // its pin's
	next     Key            // to which it changes soon; zero: to none

	// Of a node that is no peer.
	pin     *Pin // nil: it is a peer
	passing bool // other nodes may have its networks
}

// peerSpecs turns affiliates, sorted by node id, into peers. What a node has, it keeps;
// of two strangers that claim an address the earlier one gets it.
func peerSpecs(in *Input, known *roster, addrs []hostAddress, now time.Time, cs *conditions) ([]PeerSpec, []Held) {
	peers := admit(in, known, now, cs)
	claimAddresses(in, known, peers, now, cs)
	reportOwnNetworks(in, peers, cs)
	reportAsymmetry(in, peers, known.local, cs)
	if !in.Host.Netstack { // a netstack has none of them, but another agent on this host may
		reportOwnAddresses(peers, addrs, cs)
	}
	rules := newClaimRules(in, len(peers))
	claims := reserved(in)
	var unfit []candidate // with networks that are beyond a limit
	for i := range peers {
		var beyond []netip.Prefix
		claims, beyond = peers[i].appendClaims(claims, i, &rules, cs)
		if len(beyond) > 0 {
			unfit = append(unfit, candidate{Affiliate: peers[i].Affiliate, name: peers[i].name, pin: &Pin{Networks: beyond}, passing: true})
		}
	}
	all := peers // and nodes that are no peers, behind them
	if in.holding() {
		not := clearPrefixes(in)
		all = append(append(slices.Clip(peers), unfit...), known.heldNodes(in, now)...)
		for i := len(peers); i < len(all); i++ {
			claims = all[i].appendHeld(claims, i, not)
		}
	}
	shares, contested := divide(claims)
	reportOverlaps(all, shares, contested, cs)
	held := heldShares(all, shares)
	if !in.Host.DiscoveryPending {
		reportHeld(held, cs)
	}

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
			Endpoints:  peerEndpoints(in, p.Affiliate, p.name, cs),
			NextKey:    p.next,

			relayed:      p.Record.Relayed,
			sequence:     p.Record.Sequence,
			secretNumber: p.Record.SecretNumber,
		}
		known.pins[p.NodeID].grant(p, allowed[i])
	}
	sort.Slice(specs, func(i, j int) bool { return specs[i].PublicKey.Compare(specs[j].PublicKey) < 0 })
	return specs, held
}

// grant records what a peer has. Of broad networks it records what the peer announces:
// its share of them changes with every network of another peer.
func (pin *Pin) grant(p *candidate, allowed []netip.Prefix) {
	pin.PublicKey = p.PublicKey
	if p.address.IsValid() {
		pin.Address = p.address
	}
	var broad []netip.Prefix
	for _, n := range bounded(p.AdditionalAddresses, maxPeerAddresses) {
		if n = unmapPrefix(n); n.IsValid() && IsBroad(n) {
			broad = append(broad, n.Masked())
		}
	}
	pin.Networks = pin.Networks[:0:0]
	for _, n := range allowed {
		in := slices.IndexFunc(broad, func(b netip.Prefix) bool { return b.Overlaps(n) })
		switch {
		case p.address.IsValid() && n == hostPrefix(p.address):
		case in < 0:
			pin.Networks = append(pin.Networks, n)
		case !slices.Contains(pin.Networks, broad[in]):
			pin.Networks = append(pin.Networks, broad[in])
		}
	}
	sort.Slice(pin.Networks, func(i, j int) bool { return compareDisjoint(pin.Networks[i], pin.Networks[j]) < 0 })
	pin.Reached = p.reached
}

// allowedIPs lists per peer, sorted, its KubeSpan address and its shares.
func allowedIPs(peers []candidate, shares []span) [][]netip.Prefix {
	size := make([]int, len(peers))
	for k := range shares {
		s := &shares[k]
		if i := int(s.owner.index); s.owner != noOwner && i < len(peers) {
			size[i]++
		}
	}
	allowed := make([][]netip.Prefix, len(peers))
	for i := range peers {
		p := &peers[i]
		allowed[i] = make([]netip.Prefix, 0, size[i]+1)
		if p.address.IsValid() {
			allowed[i] = append(allowed[i], hostPrefix(p.address))
		}
	}
	for k := range shares {
		s := &shares[k]
		if i := int(s.owner.index); s.owner != noOwner && i < len(peers) {
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
// this node's key or with that of another node can't.
func admit(in *Input, known *roster, now time.Time, cs *conditions) []candidate {
	peers := make([]candidate, 0, len(known.others))
	owner := keyOwners(known)
	for _, a := range known.others {
		switch first, taken := owner[a.PublicKey]; {
		case a.PublicKey.IsZero():
		case a.PublicKey == in.Self.PublicKey:
			cs.about(a, ConditionDuplicatePublicKey,
				"announces this node's public key and can't be a peer; if one host is a copy of the other, delete %s on the copy", KubeSpanIdentityFile)
		case taken && first != a.NodeID:
			cs.about(a, ConditionDuplicatePublicKey,
				"announces the public key of %s, which keeps it; if one host is a copy of the other, delete %s on the copy; if it is the same box, installed anew, run: wirespan accept %s",
				known.title(first), KubeSpanIdentityFile, shellWord(a.NodeID))
		default:
			owner[a.PublicKey] = a.NodeID
			p := known.pins[a.NodeID]
			c := candidate{
				Affiliate: a, name: a.name(known.names), label: a.label(known.names),
				live: known.live(a.PublicKey, now), reached: p.Reached,
			}
			c.has, c.hasBroad = splitBroad(p.Networks)
			c.noteReached()
			peers = append(peers, c)
		}
	}
	takeNextKeys(in, peers, owner)
	return peers
}

// live returns where the session of a key is; zero without one.
func (r *roster) live(k Key, now time.Time) netip.Addr {
	s := r.stats[k]
	if !s.alive(now) {
		return netip.Addr{}
	}
	if _, relay := Direct(s.Endpoint); relay != "" { // which says where it is
		return netip.Addr{}
	}
	return s.Endpoint.Addr().Unmap()
}

// splitBroad divides sorted networks. Without a broad one, it copies nothing.
func splitBroad(networks []netip.Prefix) (narrow, broad []netip.Prefix) {
	if !slices.ContainsFunc(networks, IsBroad) {
		return networks, nil
	}
	for _, n := range networks {
		if IsBroad(n) {
			broad = append(broad, n)
		} else {
			narrow = append(narrow, n)
		}
	}
	return narrow, broad
}

// keyOwners returns the node ids that have keys by their pins, whether they are there or
// not. A node that is there and announces another key has given its old one up.
func keyOwners(known *roster) map[Key]string {
	owner := make(map[Key]string, len(known.pins))
	for _, p := range known.order {
		if _, taken := owner[p.PublicKey]; !taken && !p.PublicKey.IsZero() {
			owner[p.PublicKey] = p.NodeID
		}
	}
	for _, p := range known.order {
		if _, taken := owner[p.NextKey]; !taken && !p.NextKey.IsZero() {
			owner[p.NextKey] = p.NodeID
		}
	}
	for _, a := range known.others {
		if p := known.pins[a.NodeID]; p.changedKey(a) && owner[p.PublicKey] == a.NodeID {
			delete(owner, p.PublicKey)
		}
	}
	return owner
}

// noteReached remembers that the peer has answered at a public address that it announces
// as its own.
func (c *candidate) noteReached() {
	if c.live.IsValid() && !isPrivate(c.live) && !slices.Contains(c.reached, c.live) && slices.Contains(c.Addresses, c.live) {
		c.reached = append(slices.Clip(c.reached), c.live)
		c.reached = c.reached[max(0, len(c.reached)-maxReached):]
	}
}

// claimAddresses sets each peer's KubeSpan address. Talos routes whatever is
// announced. Here the address must be in the cluster's /64 and no other node's, and
// nothing else inside the /64 is routed to a peer, so that no node can take over
// another's address. An address that is derived from a node id belongs to that node; any
// other one to the node that has it already, and of strangers to the lower node id. A
// peer may have an address of a link of this host, since several agents can share one
// host.
func claimAddresses(in *Input, known *roster, peers []candidate, now time.Time, cs *conditions) {
	owner := addressOwners(in, known, now)
	for i := range peers {
		p := &peers[i]
		switch first, taken := owner[p.Address]; {
		case !p.Address.IsValid() && p.Static:
		case !p.Address.IsValid():
			cs.about(p.Affiliate, ConditionAddressUnusable, "announces no KubeSpan address")
		case !in.Self.Subnet.Contains(p.Address):
			cs.about(p.Affiliate, ConditionAddressUnusable,
				"has the KubeSpan address %v, which is not in this cluster's %v; it is not routed", p.Address, in.Self.Subnet)
		case p.Address == in.Self.Address:
			cs.about(p.Affiliate, ConditionDuplicateAddress,
				"has this node's KubeSpan address %v: it is not routed; if both set mac, set another one on one of them", p.Address)
		case taken && first != p.NodeID:
			cs.about(p.Affiliate, ConditionDuplicateAddress,
				"has the KubeSpan address %v of %s, which keeps it: nothing is routed to it; if both set mac, set another one on one of them; if it is the same box, installed anew, run: wirespan accept %s",
				p.Address, known.title(first), shellWord(p.NodeID))
		default:
			owner[p.Address] = p.NodeID
			p.address = p.Address
		}
	}
}

// addressOwners returns the node ids that have KubeSpan addresses: by their pins, or
// because the address is derived from the node id.
func addressOwners(in *Input, known *roster, now time.Time) map[netip.Addr]string {
	owner := make(map[netip.Addr]string, 2*len(known.pins))
	for _, p := range known.order {
		if _, taken := owner[p.Address]; taken || !p.Address.IsValid() {
			continue
		}
		if a := known.byID[p.NodeID]; a != nil && a.Address == p.Address || a == nil && !p.gone(now) {
			owner[p.Address] = p.NodeID
		}
	}
	for _, p := range known.order {
		owner[DerivedAddress(in.Self.Subnet, p.NodeID)] = p.NodeID
	}
	return owner
}

// reportOwnAddresses adds a condition for each address that a peer and this node
// both announce. It is never routed to the peer. Addresses that this node doesn't
// announce are ignored: that of docker0 is the same on many hosts.
func reportOwnAddresses(peers []candidate, addrs []hostAddress, cs *conditions) {
	own := make(map[netip.Addr]bool, len(addrs))
	for _, h := range addrs {
		own[h.prefix.Addr()] = true
	}
	for i := range peers {
		p := peers[i].Affiliate
		for _, a := range bounded(p.Addresses, maxPeerAddresses) {
			if a = a.Unmap(); own[a] {
				cs.about(p, ConditionDuplicateAddress,
					"announces %v, an address of this host; it is not routed (an earlier identity of this host expires within 30 minutes)", a)
			}
		}
	}
}

// peerEndpoints returns the usable endpoints of a, in the order of a. An endpoint
// inside the /64 of a mesh would send encrypted packets into a tunnel. One in a
// network that is routed to a peer is fine: the mark of encrypted packets keeps
// them out of the tunnel. A loopback endpoint leads to a program on this host, so it is
// used only if this node announces one, too. One at this host's own address would lead
// back to this node, unless it has another port: then it is that of another node on this
// host. For the owner of a nodename, the configuration may pin endpoints instead.
func peerEndpoints(in *Input, a *Affiliate, name string, cs *conditions) []netip.AddrPort {
	if pinned := pinnedEndpoints(&in.Config, name); pinned != nil {
		return pinned
	}
	if len(a.Endpoints) > maxPeerEndpoints {
		cs.about(a, ConditionAffiliateTruncated, "announces %d endpoints; only the first %d are used", len(a.Endpoints), maxPeerEndpoints)
	}
	loopback := announcesLoopback(&in.Config)
	var out []netip.AddrPort
	for _, ep := range bounded(a.Endpoints, maxPeerEndpoints) {
		ep = Plain(ep)
		ip := ep.Addr()
		if !ip.IsValid() || ep.Port() == 0 || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
			continue
		}
		if in.Self.Subnet.Contains(ip) || IsKubeSpanULA(ip) {
			cs.about(a, ConditionEndpointInMesh, "announces the endpoint %v inside a mesh, which would send encrypted packets into a tunnel; it is not tried", ep)
			continue
		}
		if ip.IsLoopback() && !loopback || ep.Port() == in.Host.ListenPort && hasAddress(in.Host.Links, ip) {
			continue
		}
		out = appendNew(out, ep)
	}
	return filterEndpoints(out, in.Config.PeerEndpointFilters)
}

// pinnedEndpoints returns the endpoints that the configuration has for a nodename; nil if
// it has none.
func pinnedEndpoints(cfg *Config, name string) (out []netip.AddrPort) {
	if name == "" {
		return nil
	}
	for _, p := range cfg.PeerEndpoints {
		if p.Nodename == name {
			out = appendNew(out, Plain(p.Endpoint))
		}
	}
	return out
}

// filterEndpoints returns the endpoints whose addresses pass the filters, in the order of
// [FilterAddrs]. Nil filters let all pass.
func filterEndpoints(list []netip.AddrPort, filters []Filter) []netip.AddrPort {
	if filters == nil {
		return list
	}
	var addrs []netip.Addr
	for _, ep := range list {
		addrs = appendNew(addrs, ep.Addr())
	}
	var out []netip.AddrPort
	for _, a := range FilterAddrs(addrs, filters) {
		for _, ep := range list {
			if ep.Addr() == a {
				out = append(out, ep)
			}
		}
	}
	return out
}

// announcesLoopback reports whether this node itself is to be reached by a loopback
// address: its mesh is then one of processes on this host.
func announcesLoopback(c *Config) bool {
	return slices.ContainsFunc(c.ExtraAnnouncedEndpoints, func(ep netip.AddrPort) bool { return ep.Addr().Unmap().IsLoopback() })
}

func bounded[T any](list []T, limit int) []T { return list[:min(len(list), limit)] }
