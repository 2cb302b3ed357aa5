package mesh

import (
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

const (
	// maxObservers is how many nodes publish where they see a peer.
	maxObservers = 4
	// observerWait is how long they have for that. Then there are twice as many.
	observerWait = 5 * time.Second
)

// harvest lists the endpoints at which peers that are up were seen, for other nodes to
// try. What the peer announces is left out, unless it is there since this node published
// it. Of each peer, as many nodes publish it as the mesh has observers, so what a node
// publishes does not grow with the mesh. If those see nothing, since they are behind NATs as
// the peer is, others take their place, one after another: wake is when to look again.
func harvest(in *Input, known *roster, specs []PeerSpec, statuses []PeerStatus, now time.Time) (out []Endpoint, wake time.Time) {
	if !in.Config.HarvestExtraEndpoints {
		return nil, time.Time{}
	}
	draw := newDraw(in, known)
	published := make(map[Endpoint]bool, len(in.Harvested))
	for _, e := range in.Harvested {
		published[e] = true
	}
	for i := range statuses {
		s := &statuses[i]
		e := Endpoint{PublicKey: s.PublicKey, AffiliateID: specs[i].NodeID, Endpoint: s.Endpoint}
		listed := slices.Contains(specs[i].Endpoints, s.Endpoint)
		if s.State != PeerStateUp || !in.worthTelling(s.Endpoint) || listed && !published[e] {
			continue
		}
		observers, next := maxObservers, time.Time{}
		if !listed && portsOf(specs[i].Endpoints, s.Endpoint.Addr()) < 2 {
			observers, next = observersAt(s.LastEndpointChange, now)
		}
		switch place := draw.place(e.AffiliateID); {
		case published[e], place < observers:
			out = append(out, e)
		case place < len(known.others):
			wake = sooner(wake, next)
		}
	}
	return out, wake
}

// worthTelling reports whether other nodes may reach a peer where this one sees it. A host
// whose other addresses are gone sends from that of its tunnel.
func (in *Input) worthTelling(ep netip.AddrPort) bool {
	ip := ep.Addr()
	if ip.IsLoopback() {
		return announcesLoopback(&in.Config)
	}
	return reachable(ip) && ip.Zone() == "" && !in.Self.Subnet.Contains(ip) && !IsKubeSpanULA(ip)
}

// portsOf returns how many endpoints have an address. A NAT that has another port for each
// remote one gives a peer many, of which two say all there is to know.
func portsOf(list []netip.AddrPort, a netip.Addr) (n int) {
	for _, e := range list {
		if e.Addr() == a {
			n++
		}
	}
	return n
}

// observersAt returns how many observers there are of an endpoint that was seen at a time and
// is not published, and when there will be more.
func observersAt(seen, now time.Time) (int, time.Time) {
	waited := max(now.Sub(seen), 0) / observerWait
	doubled := min(bits.Len64(uint64(waited)), 20)
	return maxObservers << doubled, seen.Add(observerWait << doubled)
}

// draw tells which nodes observe which peer, by rendezvous hashing: each node has a score
// for each peer, and those with the lowest ones observe it. All nodes that know the same
// members draw alike. Only wirespan nodes take part, which sign their records.
type draw struct {
	self  uint64
	nodes []node
}

type node struct {
	id   string
	hash uint64
}

func newDraw(in *Input, known *roster) draw {
	d := draw{self: hashOf(in.Self.NodeID)}
	for _, a := range known.others {
		if a.Record.Signed() {
			d.nodes = append(d.nodes, node{a.NodeID, hashOf(a.NodeID)})
		}
	}
	return d
}

// place returns how many nodes come before this one as observers of a peer.
func (d draw) place(peer string) int {
	about := hashOf(peer)
	mine := mix(d.self ^ about)
	before := 0
	for i := range d.nodes {
		if n := &d.nodes[i]; n.id != peer && mix(n.hash^about) < mine {
			before++
		}
	}
	return before
}

// hashOf is the 64-bit FNV-1a hash.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// mix spreads each bit over all others (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
