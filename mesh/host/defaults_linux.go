package host

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	rtnetlink "github.com/wirespan/wirespan/firewall/netlink"
)

// defaults are the default routes that packets of this host can take.
type defaults struct{ v4, v6 rtnetlink.DefaultRoutes }

// leaveBy reports whether a default route leaves by the link with that index.
func (d *defaults) leaveBy(index int) bool {
	leaves := func(h rtnetlink.NextHop) bool { return h.Interface == uint32(index) }
	return slices.ContainsFunc(d.v4.Hops, leaves) || slices.ContainsFunc(d.v6.Hops, leaves)
}

// defaultRoutes asks the kernel for default routes; see [rtnetlink.RTNetlink.DefaultRoutes].
func (h *Host) defaultRoutes(links []netlink.Link) (d defaults, err error) {
	rt, err := rtnetlink.OpenRTNetlink()
	if err != nil {
		return d, fmt.Errorf("opening a netlink socket for routes: %w", err)
	}
	defer rt.Close()
	q := rtnetlink.DefaultQuery{Mark: h.cfg.EncryptedMark, Ignore: h.cfg.RoutingTable}
	for _, l := range links {
		if vrf, ok := l.(*netlink.Vrf); ok {
			q.Tables = append(q.Tables, int(vrf.Table))
		}
		if at := l.Attrs(); at.RawFlags&unix.IFF_UP != 0 && at.RawFlags&unix.IFF_LOOPBACK == 0 {
			q.Interfaces = append(q.Interfaces, uint32(at.Index))
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
