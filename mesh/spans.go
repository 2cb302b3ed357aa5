package mesh

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"sort"

	"go4.org/netipx"
)

// span is a range of addresses of one family, both ends included, that an owner
// wants or has.
type span struct {
	from, to netip.Addr
	owner    int
}

// prefixes are the fewest that make up s.
func (s span) prefixes() []netip.Prefix { return netipx.IPRangeFrom(s.from, s.to).Prefixes() }

// nobody owns what isn't to be had. It comes before every owner.
const nobody = -1

func spanOf(p netip.Prefix, owner int) span {
	r := netipx.RangeOfPrefix(p)
	return span{r.From(), r.To(), owner}
}

// divide gives every address to the lowest-numbered owner that wants it. The
// result is sorted and disjoint, adjacent spans of one owner are joined.
// Contested is the part of want, sorted, where several owners met. Want is
// reordered.
//
// One sweep over all spans costs O(n log n); cutting each owner's set by all
// earlier ones would be quadratic in the number of peers.
func divide(want []span) (had, contested []span) {
	sort.Slice(want, func(i, j int) bool {
		return cmp.Or(want[i].from.Compare(want[j].from), cmp.Compare(want[i].owner, want[j].owner)) < 0
	})
	out := make(spans, 0, len(want))
	for start := 0; start < len(want); {
		last, end, several := want[start].to, start+1, false
		for ; end < len(want) && want[end].from.Compare(last) <= 0; end++ {
			several = several || want[end].owner != want[start].owner
			last = later(last, want[end].to)
		}
		switch cluster := want[start:end]; {
		case several:
			out.sweep(cluster)
			contested = append(contested, cluster...)
		default:
			out.push(span{want[start].from, last, want[start].owner})
		}
		start = end
	}
	return out, contested
}

type spans []span

// push appends s, joining it to the last span if that is its owner's and adjacent.
func (out *spans) push(s span) {
	if n := len(*out); n > 0 {
		if last := &(*out)[n-1]; last.owner == s.owner && last.to.Next() == s.from {
			last.to = s.to
			return
		}
	}
	*out = append(*out, s)
}

// sweep divides a cluster: sorted spans that leave no address between them
// unclaimed, so all of one family.
func (out *spans) sweep(cluster []span) {
	var active byOwner
	next := 0
	for pos := cluster[0].from; pos.IsValid(); {
		for ; next < len(cluster) && cluster[next].from == pos; next++ {
			heap.Push(&active, cluster[next])
		}
		for len(active) > 0 && active[0].to.Less(pos) {
			heap.Pop(&active)
		}
		if len(active) == 0 {
			return
		}
		winner := active[0]
		winner.from = pos
		if next < len(cluster) && cluster[next].from.Compare(winner.to) <= 0 {
			winner.to = cluster[next].from.Prev()
		}
		out.push(winner)
		pos = winner.to.Next() // invalid after the family's last address
	}
}

// byOwner is a heap of spans, the lowest owner on top.
type byOwner []span

func (h byOwner) Len() int           { return len(h) }
func (h byOwner) Less(i, j int) bool { return h[i].owner < h[j].owner }
func (h byOwner) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byOwner) Push(x any)        { *h = append(*h, x.(span)) }
func (h *byOwner) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	*h = (*h)[:last]
	return s
}

// loss is a part of what an owner wanted that another one has.
type loss struct {
	prefix netip.Prefix // the first of the part
	winner int
}

// losses lists what other owners have of spans wanted by one, in address order
// and at most one per winner.
func losses(want, had []span) []loss {
	var out []loss
	seen := map[int]bool{want[0].owner: true, nobody: true}
	for _, w := range want {
		i, _ := slices.BinarySearchFunc(had, w.from, func(s span, a netip.Addr) int { return s.to.Compare(a) })
		for ; i < len(had) && had[i].from.Compare(w.to) <= 0; i++ {
			if s := had[i]; !seen[s.owner] {
				seen[s.owner] = true
				part := netipx.IPRangeFrom(later(s.from, w.from), earlier(s.to, w.to))
				out = append(out, loss{part.Prefixes()[0], s.owner})
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
