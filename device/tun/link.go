package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// Configure makes the link have this MTU and these addresses and be up. Without
// an IPv4 address among them it has 192.0.0.8 as well, of link scope, with which
// IPv4 for others can come in. It changes only what differs, so calling it again
// heals what others changed.
func (t *TUN) Configure(mtu int, addresses []netip.Prefix) error {
	t.configMu.Lock()
	defer t.configMu.Unlock()
	link, err := t.handle.LinkByIndex(t.index)
	if err != nil {
		return fmt.Errorf("look up interface %s: %w", t.name, err)
	}
	if err := t.setMTU(link, mtu); err != nil {
		return err
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := t.handle.LinkSetUp(link); err != nil {
			return fmt.Errorf("set interface %s up: %w", t.name, err)
		}
	}
	if !slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
		addresses = append(slices.Clip(addresses), netip.PrefixFrom(dummyIPv4, dummyIPv4.BitLen()))
	}
	return t.setAddresses(link, addresses)
}

func (t *TUN) setMTU(link netlink.Link, mtu int) error {
	if link.Attrs().MTU != mtu {
		if err := t.handle.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU of interface %s to %d: %w", t.name, mtu, err)
		}
	}
	if t.mtu.Swap(int32(mtu)) != int32(mtu) {
		select {
		case t.events <- tun.EventMTUUpdate:
		default: // one is waiting, and whoever takes it reads the MTU then
		}
	}
	return nil
}

// setAddresses removes first, so that an address whose prefix length changed
// can be added again.
func (t *TUN) setAddresses(link netlink.Link, want []netip.Prefix) error {
	found, err := t.handle.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of interface %s: %w", t.name, err)
	}
	var have []netip.Prefix
	for i := range found {
		p, ok := prefixOf(found[i].IPNet)
		if !ok {
			continue
		}
		if slices.Contains(want, p) || !t.owns(p) {
			have = append(have, p)
			continue
		}
		if err := t.handle.AddrDel(link, &found[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s from interface %s: %w", p, t.name, err)
		}
	}
	for _, p := range want {
		if slices.Contains(have, p) {
			continue
		}
		if err := t.addAddress(link, p); err != nil {
			return err
		}
	}
	t.added = slices.Clone(want)
	return nil
}

// dummyIPv4 is the address that RFC 7600 sets aside for interfaces without one of
// their own. The kernel's check of where packets come from (rp_filter, unless it
// is off) lets no IPv4 into an interface without an address. It has link scope,
// so that nothing is ever sent from it.
var dummyIPv4 = netip.MustParseAddr("192.0.0.8")

func (t *TUN) addAddress(link netlink.Link, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{
		IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if p.Addr() == dummyIPv4 {
		addr.Scope = unix.RT_SCOPE_LINK
	}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD // usable at once
	}
	err := t.handle.AddrAdd(link, addr)
	switch {
	case err == nil, errors.Is(err, unix.EEXIST):
		return nil
	case p.Addr().Is6() && errors.Is(err, unix.EACCES):
		return fmt.Errorf("add address %s to interface %s: IPv6 is disabled on this host: enable it (sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.%s.disable_ipv6=0), or use the netstack backend: %w", p, t.name, t.name, err)
	case p.Addr().Is6() && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)):
		return fmt.Errorf("add address %s to interface %s: the kernel has no IPv6: use the netstack backend: %w", p, t.name, err)
	}
	return fmt.Errorf("add address %s to interface %s: %w", p, t.name, err)
}

// owns reports whether an address of the link is ours to remove.
func (t *TUN) owns(p netip.Prefix) bool {
	return slices.Contains(t.added, p) || isKubeSpan(p.Addr())
}

// isKubeSpan reports whether a is in some cluster's KubeSpan /64: a unique
// local address with KubeSpan's purpose, 2, in byte 7.
func isKubeSpan(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && b[0] == 0xfd && b[7] == 2
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

// Source is the address from which this node would send to dst: an address of
// the link if it has one of the same family, otherwise what the routes say.
func (t *TUN) Source(dst netip.Addr) (netip.Addr, error) {
	t.configMu.Lock()
	defer t.configMu.Unlock()
	for _, p := range t.added {
		if p.Addr().BitLen() == dst.BitLen() && p.Addr() != dummyIPv4 {
			return p.Addr(), nil
		}
	}
	found, err := t.handle.RouteGet(dst.AsSlice())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("look up the route to %s: %w", dst, err)
	}
	for _, r := range found {
		if src, ok := netip.AddrFromSlice(r.Src); ok {
			return src.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the route to %s has no source address", dst)
}
