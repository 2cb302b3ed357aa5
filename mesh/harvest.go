package mesh

import "slices"

// maxObservers is how many nodes publish where they see a peer.
const maxObservers = 4

// harvest lists the endpoints at which peers that are up were seen, for other nodes to
// try. What the peer announces is left out, unless it is there since this node published
// it. Of each peer, as many nodes publish it as the mesh has observers, so what a node
// publishes does not grow with the mesh.
func harvest(in *Input, known *roster, specs []PeerSpec, statuses []PeerStatus) []Endpoint {
	if !in.Config.HarvestExtraEndpoints {
		return nil
	}
	draw := newDraw(in, known)
	published := make(map[Endpoint]bool, len(in.Harvested))
	for _, e := range in.Harvested {
		published[e] = true
	}
	var out []Endpoint
	for i := range statuses {
		s := &statuses[i]
		e := Endpoint{PublicKey: s.PublicKey, AffiliateID: specs[i].NodeID, Endpoint: s.Endpoint}
		if s.State != PeerStateUp || !s.Endpoint.IsValid() || !draw.observes(e.AffiliateID) {
			continue
		}
		if published[e] || !slices.Contains(specs[i].Endpoints, s.Endpoint) {
			out = append(out, e)
		}
	}
	return out
}

// draw tells which nodes observe which peer, by rendezvous hashing: each node has a score
// for each peer, and the lowest ones observe it. All nodes that know the same members draw
// alike. Only wirespan nodes take part, which sign their records.
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

// observes reports whether this node publishes where it sees a peer.
func (d draw) observes(peer string) bool {
	about := hashOf(peer)
	mine := mix(d.self ^ about)
	better := 0
	for i := range d.nodes {
		if n := &d.nodes[i]; n.id != peer && mix(n.hash^about) < mine {
			if better++; better == maxObservers {
				return false
			}
		}
	}
	return true
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
