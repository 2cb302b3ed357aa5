package netlink

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// maxElements is the size in bytes up to which elements are added to one message.
// An attribute's length has 16 bits.
const maxElements = 60000

// Elements appends one message of type NFT_MSG_NEWSETELEM or
// NFT_MSG_DELSETELEM with as many intervals as fit, and returns the rest.
func (b *Batch) Elements(typ, flags uint16, table, set string, intervals []Interval) (rest []Interval) {
	at := b.Add(typ, flags)
	b.Text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	list := b.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for len(intervals) > 0 && len(b.b)-list < maxElements {
		b.element(intervals[0].From, false)
		if intervals[0].To.IsValid() {
			b.element(intervals[0].To, true)
		}
		intervals = intervals[1:]
	}
	b.EndNest(list)
	b.End(at)
	return intervals
}

// element appends the start or the end of an interval.
//
//go:noinline
func (e *Encoder) element(key netip.Addr, end bool) {
	at := e.Nest(unix.NFTA_LIST_ELEM)
	if end {
		e.Uint32BE(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	value := e.Nest(unix.NFTA_SET_ELEM_KEY)
	if key.Is4() {
		a := key.As4()
		e.Bytes(unix.NFTA_DATA_VALUE, a[:])
	} else {
		a := key.As16()
		e.Bytes(unix.NFTA_DATA_VALUE, a[:])
	}
	e.EndNest(value)
	e.EndNest(at)
}

// SetIntervals returns the intervals of a set in ascending order, or
// [ErrNotIntervals].
func (n *Nftables) SetIntervals(table, set string) ([]Interval, error) {
	var elements []element
	err := n.Dump(unix.NFT_MSG_GETSETELEM, func(e *Encoder) {
		e.Text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		e.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, func() { elements = elements[:0] }, func(attributes []byte) {
		elements = appendElements(elements, attributes)
	})
	if err != nil {
		return nil, fmt.Errorf("read set %s of nftables table %s: %w", set, table, err)
	}
	return pair(elements)
}

// SetInterval returns the interval of a set that contains an address; ok is false
// if none does.
func (n *Nftables) SetInterval(table, set string, a netip.Addr) (found Interval, ok bool, err error) {
	from, err := n.setElement(table, set, a, false)
	switch {
	case errors.Is(err, unix.ENOENT) || err == nil && !from.IsValid():
		return Interval{}, false, nil
	case err != nil:
		return Interval{}, false, fmt.Errorf("look up %s in set %s: %w", a, set, err)
	}
	to, err := n.setElement(table, set, a, true)
	if err != nil || !to.IsValid() || !from.Less(to) {
		to = netip.Addr{}
	}
	return Interval{from, to}, true, nil
}

// setElement returns the start of the interval that contains an address, or its
// end.
func (n *Nftables) setElement(table, set string, a netip.Addr, end bool) (netip.Addr, error) {
	var found []element
	err := n.Request(unix.NFT_MSG_GETSETELEM, func(e *Encoder) {
		e.Text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		e.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
		list := e.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		e.element(a, end)
		e.EndNest(list)
	}, func(attributes []byte) { found = appendElements(found, attributes) })
	if err != nil || len(found) == 0 {
		return netip.Addr{}, err
	}
	return found[0].key, nil
}

func appendElements(out []element, attributes []byte) []element {
	list := Attribute(attributes, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for _, one, rest := cutAttribute(list); one != nil; _, one, rest = cutAttribute(rest) {
		out = append(out, parseElement(one))
	}
	return out
}

// parseElement uses no iterators, because a set can have many elements.
func parseElement(b []byte) (e element) {
	for typ, v, rest := cutAttribute(b); v != nil; typ, v, rest = cutAttribute(rest) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			_, value, _ := cutAttribute(v)
			e.key, _ = netip.AddrFromSlice(value)
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = Uint32BE(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		}
	}
	return e
}
