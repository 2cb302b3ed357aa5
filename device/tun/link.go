package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/firewall/netlink"
	"github.com/wirespan/wirespan/mesh"
)

// Configure gives the link its name again, if another program has renamed it, and sets
// it up, with this MTU and these addresses. If there is no IPv4
// address among them, the link also gets 192.0.0.8 with link scope, without which the
// kernel would drop incoming IPv4 packets for other hosts. Configure changes only
// what differs, so calling it again undoes changes that others made.
func (t *TUN) Configure(mtu int, addresses []netip.Prefix) error {
	t.configMu.Lock()
	defer t.configMu.Unlock()
	link, err := t.rt.LinkAt(t.index)
	switch {
	case err != nil:
		return fmt.Errorf("interface %s: %w", t.name, err)
	case link.Index == 0:
		return fmt.Errorf("configure interface %s: %w", t.name, unix.ENODEV)
	}
	if err := t.setName(&link); err != nil {
		return err
	}
	if err := t.setMTU(link.MTU, mtu); err != nil {
		return err
	}
	if !link.Up {
		if err := t.rt.SetUp(t.index, true); err != nil {
			return fmt.Errorf("set interface %s up: %w", t.name, err)
		}
	}
	if !slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
		addresses = append(slices.Clip(addresses), netip.PrefixFrom(dummyIPv4, dummyIPv4.BitLen()))
	}
	return t.setAddresses(addresses)
}

// setName undoes a renaming. The error is mesh.ErrNameTaken if another link has the name.
func (t *TUN) setName(link *netlink.Link) error {
	if link.Name == t.name {
		return nil
	}
	err := t.rt.SetName(t.index, t.name)
	if errors.Is(err, unix.EBUSY) { // older kernels rename no link that is up
		if err = t.rt.SetUp(t.index, false); err == nil {
			link.Up = false
			err = t.rt.SetName(t.index, t.name)
		}
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("interface %s was renamed to %q, and %w: rename or remove that one", t.name, link.Name, mesh.ErrNameTaken)
	case err != nil:
		return fmt.Errorf("interface %s was renamed to %q; name it back: %w", t.name, link.Name, err)
	}
	return nil
}

func (t *TUN) setMTU(was, mtu int) error {
	if was != mtu {
		if err := t.rt.SetMTU(t.index, mtu); err != nil {
			return fmt.Errorf("set MTU of interface %s to %d: %w", t.name, mtu, err)
		}
	}
	if t.mtu.Swap(int32(mtu)) != int32(mtu) {
		select {
		case t.events <- tun.EventMTUUpdate:
		default: // an event is waiting, and its receiver will read the new MTU
		}
	}
	return nil
}

// setAddresses removes addresses before it adds others, so that an address whose
// prefix length changed can be added again.
func (t *TUN) setAddresses(desired []netip.Prefix) error {
	found, err := t.rt.Addresses(t.index)
	if err != nil {
		return fmt.Errorf("interface %s: %w", t.name, err)
	}
	var present []netip.Prefix
	for _, a := range found {
		p := a.Prefix
		if slices.Contains(desired, p) || !t.owns(p) {
			present = append(present, p)
			continue
		}
		if err := t.rt.DeleteAddress(a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s from interface %s: %w", p, t.name, err)
		}
	}
	for _, p := range desired {
		if slices.Contains(present, p) && t.hasPrefixRoute(p) {
			continue
		}
		if err := t.addAddress(p); err != nil {
			return err
		}
	}
	t.added = slices.Clone(desired)
	return nil
}

// dummyIPv4 is the address that RFC 7600 reserves for interfaces without an IPv4
// address of their own. The kernel's reverse path filter (rp_filter, unless it is
// off) drops all IPv4 packets from an interface without an address. dummyIPv4 has
// link scope, so the kernel never sends from it.
var dummyIPv4 = netip.MustParseAddr("192.0.0.8")

func (t *TUN) addAddress(p netip.Prefix) error {
	addr := netlink.Address{Link: t.index, Prefix: p}
	if p.Addr() == dummyIPv4 {
		addr.Scope = unix.RT_SCOPE_LINK
	}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD // no duplicate address detection: usable at once
	}
	err := t.rt.ReplaceAddress(addr)
	if p.Addr().Is6() && errors.Is(err, unix.EACCES) {
		if err := enableIPv6(t.name); err != nil {
			return fmt.Errorf("add address %s to interface %s, on which IPv6 is disabled: enable it (sysctl -w net.ipv6.conf.%[2]s.disable_ipv6=0), or use the netstack backend: %w", p, t.name, err)
		}
		err = t.rt.ReplaceAddress(addr)
	}
	switch {
	case err == nil:
		return nil
	case p.Addr().Is6() && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)):
		return fmt.Errorf("add address %s to interface %s: the kernel has no IPv6: use the netstack backend: %w", p, t.name, err)
	}
	return fmt.Errorf("add address %s to interface %s: %w", p, t.name, err)
}

// hasPrefixRoute reports whether packets to the network of an address leave by the link.
// The kernel adds that route with the address, and again if the address is replaced.
func (t *TUN) hasPrefixRoute(p netip.Prefix) bool {
	if !p.Addr().Is6() || p.IsSingleIP() {
		return true
	}
	last := p.Addr().As16() // the first one is an anycast address
	for i := p.Bits(); i < 128; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	found, err := t.rt.LookupRoute(netlink.RouteQuery{Destination: netip.AddrFrom16(last)})
	return err == nil && found.Interface == t.index
}

// enableIPv6 undoes that another program has disabled IPv6 on a link, or on all links.
func enableIPv6(name string) error {
	return os.WriteFile(filepath.Join(ipv6Settings, "conf", name, "disable_ipv6"), []byte("0"), 0)
}

// owns reports whether Configure may remove an address of the link: it added the
// address, or the address is KubeSpan's.
func (t *TUN) owns(p netip.Prefix) bool {
	return slices.Contains(t.added, p) || mesh.IsKubeSpanULA(p.Addr())
}

// Local reports whether an address is one of the host's.
func (t *TUN) Local(addr netip.Addr) bool {
	t.configMu.Lock()
	defer t.configMu.Unlock()
	found, err := t.rt.LookupRoute(netlink.RouteQuery{Destination: addr})
	return err == nil && found.Type == unix.RTN_LOCAL
}

// Source returns the address from which this node would send to dst: an address of
// the link if it has one of the same family, otherwise the source of the route.
func (t *TUN) Source(dst netip.Addr) (netip.Addr, error) {
	t.configMu.Lock()
	defer t.configMu.Unlock()
	for _, p := range t.added {
		if p.Addr().BitLen() == dst.BitLen() && p.Addr() != dummyIPv4 {
			return p.Addr(), nil
		}
	}
	found, err := t.rt.LookupRoute(netlink.RouteQuery{Destination: dst})
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("look up the route to %s: %w", dst, err)
	case !found.Source.IsValid():
		return netip.Addr{}, fmt.Errorf("the route to %s has no source address", dst)
	}
	return found.Source, nil
}
