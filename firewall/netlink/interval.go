package netlink

import (
	"errors"
	"net/netip"
	"sort"
)

// Interval is a range of addresses as nftables store it in a set: from From up
// to, but without, To. An invalid To means that the range includes the family's
// last address.
type Interval struct{ From, To netip.Addr }

// Intervals returns prefixes as intervals, in ascending order.
func Intervals(prefixes []netip.Prefix) []Interval {
	out := make([]Interval, len(prefixes))
	for i, p := range prefixes {
		out[i] = intervalOf(p)
	}
	less := func(i, j int) bool { return out[i].From.Less(out[j].From) }
	if !sort.SliceIsSorted(out, less) {
		sort.Slice(out, less)
	}
	return out
}

func intervalOf(p netip.Prefix) Interval {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return Interval{p.Addr(), last.Next()} // Next of the family's last address is invalid
}

// String returns the interval as a prefix if it is one, otherwise as its first
// and last address.
func (i Interval) String() string {
	for bits := range i.From.BitLen() + 1 {
		if p := netip.PrefixFrom(i.From, bits); p.Masked() == p && intervalOf(p) == i {
			return p.String()
		}
	}
	last := "the last"
	if i.To.IsValid() {
		last = i.To.Prev().String()
	}
	return i.From.String() + " to " + last
}

// ErrNotIntervals says that a set holds elements that do not form intervals: a
// start without an end, an end without a start, or a catch-all element.
var ErrNotIntervals = errors.New("the set's elements are not intervals")

// element is an element of an interval set: the start or the end of an interval.
type element struct {
	key netip.Addr
	end bool
}

// pair joins starts and ends to intervals, in ascending order.
func pair(elements []element) ([]Interval, error) {
	sort.Slice(elements, func(i, j int) bool {
		if elements[i].key != elements[j].key {
			return elements[i].key.Less(elements[j].key)
		}
		return elements[i].end && !elements[j].end // an interval may start where one ends
	})
	out := make([]Interval, 0, len(elements)/2)
	open := false
	for _, e := range elements {
		switch {
		case !e.key.IsValid():
			return nil, ErrNotIntervals // a catch-all element
		case e.end && open:
			out[len(out)-1].To = e.key
			open = false
		case e.end && len(out) == 0 && e.key.IsUnspecified():
			// nft(8) adds this end where the set has a gap at the lowest address
		case e.end || open:
			return nil, ErrNotIntervals
		default:
			out = append(out, Interval{From: e.key})
			open = true
		}
	}
	return out, nil
}
