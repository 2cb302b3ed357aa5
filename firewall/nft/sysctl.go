package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// Of linux/ip.h and if_link.h.
const (
	devconfForwarding = 1
	devconfRPFilter   = 8
	iflaInetConf      = 1
)

// Values of rp_filter.
const (
	rpOff   = 0
	rpLoose = 2
)

// ReversePath says how the kernel checks where packets come from (rp_filter of
// IPv4): not (0), strictly (1), or loosely (2). The larger value counts.
type ReversePath struct {
	Interface int
	All       int
}

// SetReversePath makes the check loose for packets from one interface, and
// touches no other. A loose check drops what comes from addresses that no route
// leads to, so without a default route it is off, if it is off for all.
func (f *Firewall) SetReversePath(iface string) (ReversePath, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := "ipv4/conf/" + iface + "/rp_filter"
	all, _ := strconv.Atoi(readSysctl("ipv4/conf/all/rp_filter"))
	r := ReversePath{Interface: rpLoose, All: all}
	if all == rpOff {
		covered, err := f.hasDefault()
		if err != nil {
			return ReversePath{}, err
		}
		if !covered {
			r.Interface = rpOff
		}
	}
	want := strconv.Itoa(r.Interface)
	if readSysctl(name) == want {
		return r, nil
	}
	if err := f.route.setConf(iface, devconfRPFilter, uint32(r.Interface)); err != nil {
		return ReversePath{}, err
	}
	if got := readSysctl(name); got != want && got != "" {
		return ReversePath{}, fmt.Errorf("set net.ipv4.conf.%s.rp_filter to %s: it stays %s", iface, want, got)
	}
	return r, nil
}

// hasDefault reports whether main leads somewhere for every IPv4 address.
func (f *Firewall) hasDefault() (bool, error) {
	routes, err := f.route.routes(unix.AF_INET, firewall.RouteMain, unix.RTN_UNICAST)
	if err != nil {
		return false, err
	}
	for _, r := range routes {
		if r.dst.Bits() == 0 {
			return true, nil
		}
	}
	return false, nil
}

// setConf sets one of an interface's IPv4 settings. Over netlink, since a
// hardened service sees /proc/sys read-only.
func (s *socket) setConf(iface string, conf uint16, value uint32) error {
	l, err := s.link(iface)
	if err != nil {
		return err
	}
	if l.index == 0 {
		return fmt.Errorf("configure interface %s: %w", iface, unix.ENODEV)
	}
	err = s.request(unix.RTM_SETLINK, 0, func(e *encoder) {
		at := len(e.b)
		e.b = append(e.b, make([]byte, unix.SizeofIfInfomsg)...)
		putHost32(e.b[at+4:], l.index)
		spec := e.nest(unix.IFLA_AF_SPEC)
		inet := e.nest(unix.AF_INET)
		list := e.nest(iflaInetConf)
		e.ne32(conf, value)
		e.endNest(list)
		e.endNest(inet)
		e.endNest(spec)
	}, nil)
	if err != nil {
		return fmt.Errorf("configure interface %s: %w", iface, hinted(err))
	}
	return nil
}

// readSysctl is empty if there is no such setting.
func readSysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/net/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Sysctl is a setting of the kernel that was changed.
type Sysctl struct {
	Name     string `json:"name"` // below /proc/sys/net
	Previous string `json:"previous"`
	Set      string `json:"set"`
}

// writeSysctl writes /proc/sys, whose side effects netlink lacks (large receive
// offload goes off where packets are forwarded), or else uses that.
func (s *socket) writeSysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	iface, ok := strings.CutPrefix(name, "ipv4/conf/")
	if iface, isForwarding := strings.CutSuffix(iface, "/forwarding"); ok && isForwarding {
		if n, bad := strconv.ParseUint(value, 10, 32); bad == nil {
			return s.setConf(iface, devconfForwarding, uint32(n))
		}
	}
	return fmt.Errorf("write %q: %w: set it with sysctl(8), or give the service a writable /proc/sys", value, err)
}

// leading are the names of the interfaces that main's routes to a network use:
// all of those into it, and the narrowest to all of it. A default route leads
// only to what no other does.
func (f *Firewall) leading(network netip.Prefix) ([]string, error) {
	family := byte(unix.AF_INET)
	if network.Addr().Is6() {
		family = unix.AF_INET6
	}
	into := map[uint32]bool{}
	var around []uint32
	best := -1
	err := f.route.dump(unix.RTM_GETROUTE, func(e *encoder) {
		routeHeader(e, family, 0, firewall.RouteMain, 0, 0, unix.RTN_UNICAST)
		e.ne32(unix.RTA_TABLE, firewall.RouteMain)
	}, func() { clear(into); around, best = nil, -1 }, func(m message) {
		r, ok := parseRoute(m)
		switch {
		case !ok || r.table != firewall.RouteMain || r.typ != unix.RTN_UNICAST || !r.dst.Overlaps(network):
		case r.dst.Bits() > network.Bits():
			for _, oif := range interfacesOf(m, r) {
				into[oif] = true
			}
		case r.dst.Bits() > best:
			around, best = interfacesOf(m, r), r.dst.Bits()
		}
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list the routes to %s: %w", network, err)
	}
	if best > 0 || len(into) == 0 {
		for _, oif := range around {
			into[oif] = true
		}
	}
	var names []string
	for oif := range into {
		name, err := f.route.linkName(oif)
		if err != nil {
			return nil, err
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// interfacesOf are those of all next hops (struct rtnexthop).
func interfacesOf(m message, r route) []uint32 {
	var out []uint32
	if r.oif != 0 {
		out = append(out, r.oif)
	}
	for typ, hops := range attributes(m.body[unix.SizeofRtMsg:]) {
		for typ == unix.RTA_MULTIPATH && len(hops) >= unix.SizeofRtNexthop {
			out = append(out, ne32(hops[4:]))
			n := align4(int(binary.NativeEndian.Uint16(hops)))
			if n < unix.SizeofRtNexthop || n > len(hops) {
				break
			}
			hops = hops[n:]
		}
	}
	return out
}
