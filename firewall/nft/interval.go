package nft

import (
	"errors"
	"net/netip"
	"sort"
)

// interval is a range of addresses as the kernel keeps it: from the first up to
// the one after the last. Without to, it reaches the last address of all.
type interval struct{ from, to netip.Addr }

func intervalOf(p netip.Prefix) interval {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return interval{p.Addr(), last.Next()} // Next is the zero Addr after the last of all
}

// String is the interval as a prefix if it is one, otherwise its two ends.
func (i interval) String() string {
	for bits := range i.from.BitLen() + 1 {
		if p := netip.PrefixFrom(i.from, bits); p.Masked() == p && intervalOf(p) == i {
			return p.String()
		}
	}
	last := "the last"
	if i.to.IsValid() {
		last = i.to.Prev().String()
	}
	return i.from.String() + " to " + last
}

// element is half an interval.
type element struct {
	key netip.Addr
	end bool
}

var errHalves = errors.New("halves of intervals")

// pair makes intervals of what a dump of a set gave, in ascending order.
func pair(found []element) ([]interval, error) {
	sort.Slice(found, func(i, j int) bool {
		if found[i].key != found[j].key {
			return found[i].key.Less(found[j].key)
		}
		return found[i].end && !found[j].end // the next one may start where one ends
	})
	out := make([]interval, 0, len(found)/2)
	open := false
	for _, e := range found {
		switch {
		case !e.key.IsValid():
			return nil, errHalves // no address, but a catch-all
		case e.end && open:
			out[len(out)-1].to = e.key
			open = false
		case e.end && len(out) == 0 && e.key.IsUnspecified():
			// nft(8) writes where the first gap starts
		case e.end || open:
			return nil, errHalves
		default:
			out = append(out, interval{from: e.key})
			open = true
		}
	}
	return out, nil
}

// sorted are a set's elements as intervals, in ascending order.
func sorted(elements []netip.Prefix) []interval {
	out := make([]interval, len(elements))
	for i, p := range elements {
		out[i] = intervalOf(p)
	}
	less := func(i, j int) bool { return out[i].from.Less(out[j].from) }
	if !sort.SliceIsSorted(out, less) {
		sort.Slice(out, less)
	}
	return out
}

// differ compares ascending disjoint intervals.
func differ(have, want []interval) (remove, add []interval) {
	for len(have) > 0 && len(want) > 0 {
		switch h, w := have[0], want[0]; {
		case h == w:
			have, want = have[1:], want[1:]
		case w.from.Less(h.from):
			add, want = append(add, w), want[1:]
		default: // also if only the ends differ; then w is looked at again
			remove, have = append(remove, h), have[1:]
		}
	}
	return append(remove, have...), append(add, want...)
}
