package firewall

import (
	"net/netip"
	"slices"
)

// Diff returns the prefixes to add and to remove to turn old into new. Arguments
// and results are sorted and disjoint. A removed prefix may overlap an added one,
// so prefixes must be removed first.
func Diff(old, new []netip.Prefix) (add, remove []netip.Prefix) {
	for len(old) > 0 && len(new) > 0 {
		switch o, n := old[0], new[0]; {
		case o == n:
			old, new = old[1:], new[1:]
		case before(o, n):
			remove, old = append(remove, o), old[1:]
		default:
			add, new = append(add, n), new[1:]
		}
	}
	return append(add, new...), append(remove, old...)
}

// before reports whether a sorts before b; both are masked. It is several times as
// fast as Prefix.Compare.
func before(a, b netip.Prefix) bool {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c < 0
	}
	return a.Bits() < b.Bits()
}

// SameShape reports whether two rulesets differ in nothing but elements of sets.
func (rs Ruleset) SameShape(other Ruleset) bool {
	return rs.Table == other.Table &&
		slices.EqualFunc(rs.Sets, other.Sets, func(a, b Set) bool { return a.Name == b.Name && a.IPv6 == b.IPv6 }) &&
		slices.EqualFunc(rs.Chains, other.Chains, equalChains) &&
		slices.Equal(rs.Rules, other.Rules) &&
		slices.Equal(rs.Routes, other.Routes)
}

func equalChains(a, b Chain) bool {
	return a.Name == b.Name && a.Hook == b.Hook && a.Type == b.Type && a.Priority == b.Priority &&
		slices.EqualFunc(a.Rules, b.Rules, func(a, b Rule) bool { return slices.Equal(a, b) })
}
