package mesh

import (
	"container/heap"
	"net/netip"
	"sort"

	"go4.org/netipx"
)

// span is a range of addresses of one family, both ends included, that an owner
// claims or has.
type span struct {
	from, to netip.Addr
	owner    owner
}

// owner says who claims a span and how strongly. The zero owner is noOwner.
type owner struct {
	rank  rank
	index int32 // of the peer; 0 for noOwner
}

// rank orders claims to one address: the lowest rank wins, and within a rank
// the lowest index.
type rank uint8

const (
	rankReserved       rank = iota // no peer may have it
	rankIncumbent                  // an address or a network that the peer has already
	rankNetwork                    // an address or a network of a peer
	rankBroadIncumbent             // a broad network that the peer has already: what no claim above covers
	rankBroad                      // a broad network of a peer
	rankHeld                       // what a node had that is gone, if no other node claims it
)

// broad reports whether the claim is meant for what others leave.
func (r rank) broad() bool { return r == rankBroadIncumbent || r == rankBroad }

// noOwner marks a span that no peer may have.
var noOwner = owner{}

// ownerOf returns an ordinary owner.
func ownerOf(index int) owner { return owner{rankNetwork, int32(index)} }

// before reports whether o's claim to an address wins over p's.
func (o owner) before(p owner) bool {
	return o.rank < p.rank || o.rank == p.rank && o.index < p.index
}

// prefixes returns the shortest list of prefixes that covers s.
func (s *span) prefixes() []netip.Prefix { return netipx.IPRangeFrom(s.from, s.to).Prefixes() }

// appendSpan appends what an owner claims.
func appendSpan(claims []span, p netip.Prefix, o owner) []span {
	r := netipx.RangeOfPrefix(p)
	return append(claims, span{r.From(), r.To(), o})
}

// divide gives every address to the owner with the strongest claim. Shares are
// sorted and disjoint, and adjacent ones of an owner are joined. Contested are
// the claims, sorted, that overlap one of another owner. Claims are reordered.
//
// One sweep over all spans costs O(n log n); cutting each owner's set by all
// earlier ones would be quadratic in the number of peers.
func divide(claims []span) (shares, contested []span) {
	sort.Slice(claims, func(i, j int) bool {
		if c := claims[i].from.Compare(claims[j].from); c != 0 {
			return c < 0
		}
		return claims[i].owner.before(claims[j].owner)
	})
	out := make(spans, 0, len(claims))
	for start := 0; start < len(claims); {
		last, end, several := claims[start].to, start+1, false
		for ; end < len(claims) && claims[end].from.Compare(last) <= 0; end++ {
			several = several || claims[end].owner != claims[start].owner
			last = later(last, claims[end].to)
		}
		switch cluster := claims[start:end]; {
		case several:
			out.sweep(cluster)
			contested = append(contested, cluster...)
		default:
			out.push(span{claims[start].from, last, claims[start].owner})
		}
		start = end
	}
	return out, contested
}

type spans []span

// push appends s, or extends the last span if s is adjacent and has its owner.
func (out *spans) push(s span) {
	if n := len(*out); n > 0 {
		if last := &(*out)[n-1]; last.owner == s.owner && last.to.Next() == s.from {
			last.to = s.to
			return
		}
	}
	*out = append(*out, s)
}

// sweep divides a cluster: sorted claims without a gap between them, so all of
// one family.
func (out *spans) sweep(cluster []span) {
	var active byOwner
	next := 0
	for pos := cluster[0].from; pos.IsValid(); {
		for ; next < len(cluster) && cluster[next].from == pos; next++ {
			heap.Push(&active, &cluster[next])
		}
		for len(active) > 0 && active[0].to.Less(pos) {
			heap.Pop(&active)
		}
		if len(active) == 0 {
			return
		}
		winner := *active[0]
		winner.from = pos
		if next < len(cluster) && cluster[next].from.Compare(winner.to) <= 0 {
			winner.to = cluster[next].from.Prev()
		}
		out.push(winner)
		pos = winner.to.Next() // invalid after the family's last address
	}
}

// byOwner is a heap of claims, the strongest on top.
type byOwner []*span

func (h byOwner) Len() int           { return len(h) }
func (h byOwner) Less(i, j int) bool { return h[i].owner.before(h[j].owner) }
func (h byOwner) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byOwner) Push(x any)        { *h = append(*h, x.(*span)) }
func (h *byOwner) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	*h = (*h)[:last]
	return s
}

// loss is a part of an owner's claims that another owner has.
type loss struct {
	prefix netip.Prefix // the first of the part
	winner int          // index of the other owner
}

// losses lists what other owners of the same kind have of one owner's claims, in
// address order and at most one per winner.
func losses(claims, shares []span) []loss {
	var out []loss
	loser := claims[0].owner
	seen := map[int32]bool{loser.index: true}
	for _, c := range claims {
		i := sort.Search(len(shares), func(i int) bool { return c.from.Compare(shares[i].to) <= 0 })
		for ; i < len(shares) && shares[i].from.Compare(c.to) <= 0; i++ {
			if s := &shares[i]; s.owner != noOwner && s.owner.rank.broad() == loser.rank.broad() && !seen[s.owner.index] {
				seen[s.owner.index] = true
				part := netipx.IPRangeFrom(later(s.from, c.from), earlier(s.to, c.to))
				out = append(out, loss{part.Prefixes()[0], int(s.owner.index)})
			}
		}
	}
	return out
}

func later(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

func earlier(a, b netip.Addr) netip.Addr {
	if b.Less(a) {
		return b
	}
	return a
}
