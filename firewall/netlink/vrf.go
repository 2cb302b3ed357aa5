package netlink

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// VRF is an interface with a routing table that packets of the interfaces in it use.
type VRF struct {
	Name  string
	Table int
}

// Attributes of a VRF (linux/if_link.h).
const (
	iflaInfoData = 2
	iflaVRFTable = 1
	kindVRF      = "vrf"
)

// VRFs returns the VRFs of this host.
func (r *RTNetlink) VRFs() ([]VRF, error) {
	var out []VRF
	err := r.dump(unix.RTM_GETLINK, func(e *Encoder) {
		e.linkHeader(0)
		at := e.Nest(unix.IFLA_LINKINFO) // the kernel lists others, too, if it has no VRFs
		e.Text(iflaInfoKind, kindVRF)
		e.EndNest(at)
	}, func() { out = nil }, func(m Message) {
		if v, ok := parseVRF(m); ok {
			out = append(out, v)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list VRFs: %w", err)
	}
	return out, nil
}

func parseVRF(m Message) (v VRF, ok bool) {
	if LinkKind(m) != kindVRF {
		return v, false
	}
	_, v.Name = ParseLink(m)
	for typ, info := range Attributes(m.Body[unix.SizeofIfInfomsg:]) {
		if typ != unix.IFLA_LINKINFO {
			continue
		}
		for typ, data := range Attributes(info) {
			if typ != iflaInfoData {
				continue
			}
			for typ, value := range Attributes(data) {
				if typ == iflaVRFTable {
					v.Table = int(hostUint32(value))
				}
			}
		}
	}
	return v, v.Name != "" && v.Table != 0
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
