package firewall

import (
	"net/netip"

	"go4.org/netipx"
)

// Subnet is a network except for a part of it.
type Subnet struct {
	Prefix netip.Prefix
	Except netip.Prefix // invalid: nothing
}

// Sources merges subnets and prefixes of peers into the sources of an
// [IngressRule]: masked, sorted, disjoint, and as few as possible. An exception
// applies to its own subnet only. Invalid prefixes are ignored.
func Sources(subnets []Subnet, peers []netip.Prefix) []netip.Prefix {
	var all netipx.IPSetBuilder
	for _, s := range subnets {
		if !s.Prefix.IsValid() {
			continue
		}
		var b netipx.IPSetBuilder
		b.AddPrefix(unmap(s.Prefix))
		if s.Except.IsValid() {
			b.RemovePrefix(unmap(s.Except))
		}
		if part, err := b.IPSet(); err == nil {
			all.AddSet(part)
		}
	}
	for _, p := range peers {
		if p.IsValid() {
			all.AddPrefix(unmap(p))
		}
	}
	set, err := all.IPSet()
	if err != nil { // only invalid prefixes cause one
		return nil
	}
	return set.Prefixes()
}

// unmap returns a network of IPv4-mapped addresses as an IPv4 network.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
