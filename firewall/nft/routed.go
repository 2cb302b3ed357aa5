package nft

import (
	"net/netip"

	"go4.org/netipx"

	"github.com/wirespan/wirespan/firewall"
)

// Routed returns the networks that the table of an earlier process still routes into a
// tunnel, for one that does not know what was applied. It returns none if there is no
// such table, or if its comment names another tunnel.
func (f *Firewall) Routed(table, tunnel string) ([]netip.Prefix, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.table.readHeader(table)
	if err != nil || !s.marked || s.tunnel != tunnel {
		return nil, err
	}
	var set netipx.IPSetBuilder
	for _, ipv6 := range []bool{false, true} {
		intervals, err := f.table.nl.SetIntervals(table, firewall.RoutedSet(ipv6))
		if err != nil {
			return nil, err
		}
		for _, i := range intervals {
			last := netipx.PrefixLastIP(netip.PrefixFrom(i.From, 0))
			if i.To.IsValid() {
				last = i.To.Prev()
			}
			set.AddRange(netipx.IPRangeFrom(i.From, last))
		}
	}
	all, err := set.IPSet()
	if err != nil {
		return nil, err
	}
	return all.Prefixes(), nil
}
