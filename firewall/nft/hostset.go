package nft

import (
	"bytes"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// maxHostElements bounds the sets of other programs that are looked into.
const maxHostElements = 512

// catchAll is the flag of the element that every key finds (NFT_SET_ELEM_CATCHALL).
const catchAll = 2

// hostSet is a set or map of another program, sorted by key.
type hostSet struct {
	keySize  int
	interval bool
	elements []hostElement
}

type hostElement struct {
	key  []byte
	end  bool   // of an interval
	data []byte // attributes of the value that it maps to
}

// set reads a set once; nil if it is too large or of a kind that is not understood.
func (h *hostRules) set(t *table, key chainKey) *hostSet {
	if s, ok := h.sets[key]; ok {
		return s
	}
	s, odd := &hostSet{}, false
	err := t.nl.DumpFamily(key.family, unix.NFT_MSG_GETSETELEM, func(e *netlink.Encoder) {
		e.Text(unix.NFTA_SET_ELEM_LIST_TABLE, key.table)
		e.Text(unix.NFTA_SET_ELEM_LIST_SET, key.name)
	}, func() { s.elements, odd = nil, false }, func(_ byte, attributes []byte) {
		list := hostExpr{data: attributes}.attribute(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for _, item := range netlink.Attributes(slices.Clone(list)) {
			e := hostExpr{data: item}
			flags, _ := e.number(unix.NFTA_SET_ELEM_FLAGS)
			k := value(e, unix.NFTA_SET_ELEM_KEY)
			odd = odd || len(s.elements) == maxHostElements || flags&catchAll != 0 || len(k) == 0 || e.attribute(netlink.AttrElementKeyEnd) != nil
			if odd {
				return
			}
			end := flags&unix.NFT_SET_ELEM_INTERVAL_END != 0
			s.interval, s.keySize = s.interval || end, len(k)
			s.elements = append(s.elements, hostElement{k, end, e.attribute(unix.NFTA_SET_ELEM_DATA)})
		}
	})
	if err != nil || odd {
		s = nil
	} else {
		sort.Slice(s.elements, func(i, j int) bool {
			a, b := s.elements[i], s.elements[j]
			if a.end != b.end && bytes.Equal(a.key, b.key) {
				return a.end // the next interval begins where the last one ends
			}
			return bytes.Compare(a.key, b.key) < 0
		})
	}
	h.sets[key] = s
	return s
}

// find returns what a key maps to.
func (s *hostSet) find(key []byte) (data []byte, found truth) {
	for i := len(s.elements) - 1; i >= 0; i-- {
		e := &s.elements[i]
		switch order := bytes.Compare(e.key, key); {
		case order == 0 && !e.end:
			return e.data, yes
		case s.interval && order <= 0:
			return e.data, truthOf(!e.end)
		}
	}
	return nil, no
}
