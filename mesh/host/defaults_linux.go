package host

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// defaults are the default routes that packets of this host can take.
type defaults struct{ v4, v6 netlink.DefaultRoutes }

// hops returns the next hops of both families.
func (d *defaults) hops() []netlink.NextHop {
	return append(append([]netlink.NextHop{}, d.v4.Hops...), d.v6.Hops...)
}

// leaveBy reports whether a default route leaves by the link with that index.
func (d *defaults) leaveBy(index uint32) bool {
	for _, h := range d.hops() {
		if h.Interface == index {
			return true
		}
	}
	return false
}

// defaultRoutes asks the kernel for default routes; see [netlink.RTNetlink.DefaultRoutes].
func (h *Host) defaultRoutes(rt *netlink.RTNetlink, links []netlink.Link) (d defaults, err error) {
	q := netlink.DefaultQuery{Mark: h.cfg.EncryptedMark, Ignore: h.cfg.RoutingTable}
	for _, l := range links {
		if l.Kind == netlink.KindVRF {
			q.Tables = append(q.Tables, l.Table)
		}
		if l.Up && l.Flags&unix.IFF_LOOPBACK == 0 {
			q.Interfaces = append(q.Interfaces, l.Index)
		}
	}
	if d.v4, err = rt.DefaultRoutes(unix.AF_INET, q); err != nil {
		return d, fmt.Errorf("looking for IPv4 default routes: %w", err)
	}
	if d.v6, err = rt.DefaultRoutes(unix.AF_INET6, q); err != nil {
		return d, fmt.Errorf("looking for IPv6 default routes: %w", err)
	}
	return d, nil
}
