package forward

import (
	"net"
	"net/netip"
	"slices"
)

// allowList says which peers may connect.
type allowList struct {
	all      bool
	prefixes []netip.Prefix
	names    []string
	namesOf  func(netip.Addr) []string
}

func newAllowList(entries []string, namesOf func(netip.Addr) []string) allowList {
	l := allowList{all: len(entries) == 0, namesOf: namesOf}
	for _, e := range entries {
		if p, err := netip.ParsePrefix(e); err == nil {
			l.prefixes = append(l.prefixes, p.Masked())
		} else if a, err := netip.ParseAddr(e); err == nil {
			a = a.Unmap()
			l.prefixes = append(l.prefixes, netip.PrefixFrom(a, a.BitLen()))
		} else {
			l.names = append(l.names, e)
		}
	}
	return l
}

// allows reports whether a client may connect. One whose address is unknown may not.
func (l *allowList) allows(client net.Addr) bool {
	if l.all {
		return true
	}
	addr := addrPort(client).Addr()
	if !addr.IsValid() {
		return false
	}
	if slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return true
	}
	if len(l.names) == 0 {
		return false
	}
	return slices.ContainsFunc(l.namesOf(addr), func(name string) bool { return slices.Contains(l.names, name) })
}

// addrPort returns the address and port of a TCP or UDP address, without a mapping of IPv4
// into IPv6. Of other addresses it returns zero.
func addrPort(a net.Addr) netip.AddrPort {
	ap, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.AddrPort().Addr().Unmap(), ap.AddrPort().Port())
}
