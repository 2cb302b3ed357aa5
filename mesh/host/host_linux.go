package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sort"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// Host observes this machine's links, addresses and default routes. Run signals changes.
type Host struct {
	changed mesh.Signal
}

// New returns a Host. It starts nothing.
func New() *Host { return &Host{changed: mesh.NewSignal()} }

// Changed receives after a change of links, addresses or default routes. Several changes
// may be signalled once.
func (h *Host) Changed() <-chan struct{} { return h.changed }

// Run listens for changes until ctx is done. If the machine refuses a subscription, the
// agent notices those changes at its next regular check only.
func (h *Host) Run(ctx context.Context) error {
	links := make(chan netlink.LinkUpdate)
	addrs := make(chan netlink.AddrUpdate)
	routes := make(chan netlink.RouteUpdate)
	done := make(chan struct{})
	ignore := func(error) {}
	subscriptions := 0
	if netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: ignore}) == nil {
		subscriptions++
	}
	if netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: ignore}) == nil {
		subscriptions++
	}
	if netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: ignore}) == nil {
		subscriptions++
	}
	stop := ctx.Done()
	for subscriptions > 0 {
		open, relevant := false, true
		var route netlink.RouteUpdate
		select {
		case <-stop:
			close(done) // the library then closes its channels, which this loop drains
			stop = nil
			continue
		case _, open = <-links:
			if !open {
				links = nil
			}
		case _, open = <-addrs:
			if !open {
				addrs = nil
			}
		case route, open = <-routes:
			relevant = isDefault(&route.Route) // a router changes thousands of other routes
			if !open {
				routes = nil
			}
		}
		if !open {
			subscriptions--
			continue
		}
		if relevant {
			h.changed.Notify()
		}
	}
	<-ctx.Done()
	return nil
}

// Links returns the host's interfaces in ascending name order.
func (h *Host) Links() ([]mesh.Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	defaults, err := defaultRouteLinks()
	if err != nil {
		return nil, err
	}
	addrs, err := linkAddresses()
	if err != nil {
		return nil, err
	}
	links := make([]mesh.Link, 0, len(all))
	for _, l := range all {
		at := l.Attrs()
		links = append(links, mesh.Link{
			Name: at.Name, Kind: linkKind(l), Up: linkUp(l),
			Loopback:     at.RawFlags&unix.IFF_LOOPBACK != 0,
			DefaultRoute: defaults[at.Index],
			MTU:          at.MTU,
			Addresses:    addrs[at.Index],
		})
	}
	sort.Slice(links, func(i, j int) bool { return links[i].Name < links[j].Name })
	return links, nil
}

func physical(l netlink.Link) bool {
	return l.Attrs().EncapType == "ether" && linkKind(l) == ""
}

// linkKind returns the rtnetlink kind (IFLA_INFO_KIND). The library has other names for
// two of them.
func linkKind(l netlink.Link) string {
	switch k := l.Type(); k {
	case "device":
		return ""
	case "tuntap":
		return "tun"
	default:
		return k
	}
}

func linkUp(l netlink.Link) bool {
	at := l.Attrs()
	if at.RawFlags&unix.IFF_UP == 0 {
		return false
	}
	if at.OperState != netlink.OperUp && at.OperState != netlink.OperUnknown {
		return false
	}
	return !physical(l) || at.RawFlags&unix.IFF_LOWER_UP != 0
}

// linkAddresses returns the usable addresses of all links by the link's index.
func linkAddresses() (map[int][]netip.Prefix, error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	out := map[int][]netip.Prefix{}
	for i := range list {
		if p, ok := usable(&list[i]); ok {
			out[list[i].LinkIndex] = append(out[list[i].LinkIndex], p)
		}
	}
	return out, nil
}

// usable returns an address that a peer can use. It reports false for link scope, for
// tentative and duplicate addresses, and for temporary ones (RFC 8981).
func usable(a *netlink.Addr) (netip.Prefix, bool) {
	if a.Scope >= unix.RT_SCOPE_LINK || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(a.IP)
	addr = addr.Unmap()
	// Of an IPv4 address the same bit says that it is a secondary one.
	if !ok || addr.Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0 {
		return netip.Prefix{}, false
	}
	bits, _ := a.Mask.Size()
	return netip.PrefixFrom(addr, bits), true
}

// defaultRouteLinks returns the indexes of links with a default route.
func defaultRouteLinks() (map[int]bool, error) {
	out := map[int]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("listing routes: %w", err)
		}
		for _, r := range routes {
			if !isDefault(&r) {
				continue
			}
			if r.LinkIndex > 0 {
				out[r.LinkIndex] = true
			}
			for _, hop := range r.MultiPath {
				out[hop.LinkIndex] = true
			}
		}
	}
	return out, nil
}

// isDefault reports whether r is a unicast route for all addresses.
func isDefault(r *netlink.Route) bool {
	if r.Type != unix.RTN_UNICAST {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// OperatingSystem returns the operating system as "NAME (VERSION)", from os-release(5).
func OperatingSystem() string {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		name := osRelease(f)
		_ = f.Close()
		if name != "" {
			return name
		}
	}
	return "Linux"
}

// osRelease returns the name and version of an os-release(5) file. It returns the name
// alone if there is no version, and an empty string if there is no name.
func osRelease(r io.Reader) string {
	vars := map[string]string{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), "="); ok {
			vars[k] = strings.Trim(v, `"'`)
		}
	}
	if name, version := vars["NAME"], vars["VERSION_ID"]; name == "" || version == "" {
		return name
	}
	return vars["NAME"] + " (" + vars["VERSION_ID"] + ")"
}
