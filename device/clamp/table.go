package clamp

import (
	"net/netip"
	"slices"
)

// Table says for each address how large packets to it may be. The longest prefix decides.
// The zero Table limits nothing.
type Table struct{ v4, v6 family }

type family struct {
	bits   []int // lengths of prefixes, descending
	limits map[netip.Prefix]int
}

// Add adds a network with its limit; 0: none.
func (t *Table) Add(network netip.Prefix, limit int) {
	network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()).Masked()
	f := &t.v6
	if network.Addr().Is4() {
		f = &t.v4
	}
	if f.limits == nil {
		f.limits = map[netip.Prefix]int{}
	}
	f.limits[network] = limit
	if i, known := slices.BinarySearchFunc(f.bits, network.Bits(), func(a, b int) int { return b - a }); !known {
		f.bits = slices.Insert(f.bits, i, network.Bits())
	}
}

// limit returns the limit of an address, which is 4 or 16 bytes; 0 if it has none.
func (t *Table) limit(address []byte) int {
	addr, _ := netip.AddrFromSlice(address)
	f := &t.v6
	if addr.Is4() {
		f = &t.v4
	}
	for _, bits := range f.bits {
		network, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		if limit, known := f.limits[network]; known {
			return limit
		}
	}
	return 0
}
