package host

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// addresses are the addresses of a link that peers can use.
type addresses struct {
	all        []netip.Prefix // without temporary ones
	temporary  []netip.Prefix // RFC 8981
	deprecated []netip.Addr   // of all
}

// any reports whether there is one; a link without addresses is nil.
func (l *addresses) any() bool { return l != nil && len(l.all)+len(l.temporary) > 0 }

// usable returns the addresses of the link. A temporary one, which is for a day, counts
// only if there is no other IPv6 address for new connections.
func (l *addresses) usable() []netip.Prefix {
	lasting := func(p netip.Prefix) bool { return p.Addr().Is6() && !slices.Contains(l.deprecated, p.Addr()) }
	if slices.ContainsFunc(l.all, lasting) {
		return l.all
	}
	return append(l.all, l.temporary...)
}

// linkAddresses returns the addresses of all links by the link's index.
func linkAddresses(rt *netlink.RTNetlink) (map[uint32]*addresses, error) {
	list, err := rt.Addresses(0)
	if err != nil {
		return nil, err
	}
	out := map[uint32]*addresses{}
	for _, a := range list {
		l := out[a.Link]
		if l == nil {
			l = &addresses{}
			out[a.Link] = l
		}
		l.add(a)
	}
	return out, nil
}

// add adds an address if peers can use it: not of link scope, and neither tentative nor a
// duplicate.
func (l *addresses) add(a netlink.Address) {
	if a.Scope >= unix.RT_SCOPE_LINK || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
		return
	}
	addr, deprecated := a.Prefix.Addr(), a.Flags&unix.IFA_F_DEPRECATED != 0
	switch {
	// Of an IPv4 address the same bit says that it is a secondary one.
	case addr.Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0:
		if !deprecated {
			l.temporary = append(l.temporary, a.Prefix)
		}
		return
	case deprecated:
		l.deprecated = append(l.deprecated, addr)
	}
	l.all = append(l.all, a.Prefix)
}
