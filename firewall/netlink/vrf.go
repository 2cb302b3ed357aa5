package netlink

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// VRFs returns the VRFs of this host.
func (r *RTNetlink) VRFs() ([]Link, error) {
	var out []Link
	err := r.dump(unix.RTM_GETLINK, func(e *Encoder) {
		e.linkHeader(0, 0, 0)
		at := e.Nest(unix.IFLA_LINKINFO) // the kernel lists others, too, if it has no VRFs
		e.Text(unix.IFLA_INFO_KIND, KindVRF)
		e.EndNest(at)
	}, func() { out = nil }, func(m Message) {
		if l := ParseLink(m); l.Kind == KindVRF && l.Name != "" && l.Table != 0 {
			out = append(out, l)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list VRFs: %w", err)
	}
	return out, nil
}

// HasDefaultIn reports whether a table has a default route.
func (r *RTNetlink) HasDefaultIn(family byte, table int) (bool, error) {
	var out DefaultRoutes
	_, err := r.peekDefaults(family, table, &out)
	return len(out.Hops) > 0, err
}

// DefaultTable returns the table in which packets with a mark find a route to the
// internet; 0: in none.
func (r *RTNetlink) DefaultTable(family byte, mark uint32) int {
	for _, a := range probes[family] {
		if got, err := r.LookupRoute(RouteQuery{Destination: a, Mark: mark}); err == nil && got.Type == unix.RTN_UNICAST {
			return got.Table
		}
	}
	return 0
}
