package netlink

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Route is an entry of a routing table.
type Route struct {
	RouteKey
	Type, Protocol, Scope, TOS byte
	Interface                  uint32 // index; 0 if the route is unreachable
	MTU                        uint32 // 0: that of the interface
	Extra                      bool   // it has a gateway, a source, or anything else that no field holds
}

// RouteKey identifies a route: a request with NLM_F_REPLACE replaces the route
// with the same key.
type RouteKey struct {
	Destination netip.Prefix
	Table       int
	Metric      uint32
}

// String describes the route for messages.
func (r Route) String() string {
	s := r.Destination.String()
	if r.Destination.Bits() == 0 {
		s = "default (" + s + ")"
	}
	if r.Type == unix.RTN_UNREACHABLE {
		s = "unreachable " + s
	}
	return fmt.Sprintf("route %s of metric %d in routing table %d", s, r.Metric, r.Table)
}

// Routes returns the routes of a table, or those of one type if typ is not 0. A
// table that does not exist has none.
func (r *RTNetlink) Routes(family byte, table int, typ byte) ([]Route, error) {
	var out []Route
	err := r.DumpRoutes(RouteFields{Family: family, Table: table, Type: typ}, func() { out = out[:0] }, func(one Route, _ Message) {
		out = append(out, one)
	})
	if err != nil {
		return nil, fmt.Errorf("list the routes of table %d: %w", table, err)
	}
	return out, nil
}

// RouteFields selects routes. The kernel filters by them, so that a dump costs no
// memory for the routes of others.
type RouteFields struct {
	Family   byte
	Table    int
	Type     byte // 0: any
	Protocol byte // 0: any
}

// DumpRoutes passes to each the selected routes and their messages. It calls restart
// before each attempt.
func (r *RTNetlink) DumpRoutes(f RouteFields, restart func(), each func(Route, Message)) error {
	err := r.dump(unix.RTM_GETROUTE, f.encode, restart, func(m Message) {
		if one, ok := f.parse(m); ok {
			each(one, m)
		}
	})
	if errors.Is(err, unix.ENOENT) { // the table does not exist
		return nil
	}
	return err
}

func (f RouteFields) encode(e *Encoder) {
	e.routeHeader(f.Family, 0, f.Table, f.Protocol, 0, f.Type)
	e.Uint32(unix.RTA_TABLE, uint32(f.Table))
}

// parse decodes a route; ok is false if it is not selected: before Linux 4.20 nothing
// is filtered.
func (f RouteFields) parse(m Message) (r Route, ok bool) {
	r, ok = ParseRoute(m)
	return r, ok && m.Body[0] == f.Family && r.Table == f.Table &&
		(f.Type == 0 || r.Type == f.Type) && (f.Protocol == 0 || r.Protocol == f.Protocol)
}

// routeHeader appends a struct rtmsg.
func (e *Encoder) routeHeader(family byte, bits, table int, protocol, scope, typ byte) {
	low := byte(unix.RT_TABLE_UNSPEC)
	if table < 256 {
		low = byte(table)
	}
	e.b = append(e.b, family, byte(bits), 0, 0, low, protocol, scope, typ, 0, 0, 0, 0)
}

// ParseRoute decodes a message about a route; ok is false for any other message,
// and for entries of the route cache.
func ParseRoute(m Message) (r Route, ok bool) {
	if m.Type != unix.RTM_NEWROUTE && m.Type != unix.RTM_DELROUTE || len(m.Body) < unix.SizeofRtMsg ||
		hostUint32(m.Body[8:])&unix.RTM_F_CLONED != 0 {
		return Route{}, false
	}
	return parseRoute(m.Body)
}

func parseRoute(b []byte) (Route, bool) {
	r := Route{
		RouteKey: RouteKey{Table: int(b[4])},
		TOS:      b[3], Protocol: b[5], Scope: b[6], Type: b[7], Extra: b[2] != 0,
	}
	dst := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for typ, v := range Attributes(b[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(v)
		case unix.RTA_TABLE:
			r.Table = int(hostUint32(v))
		case unix.RTA_PRIORITY:
			r.Metric = hostUint32(v)
		case unix.RTA_OIF:
			r.Interface = hostUint32(v)
		case unix.RTA_METRICS:
			for typ, v := range Attributes(v) {
				if typ == unix.RTAX_MTU {
					r.MTU = hostUint32(v)
				} else {
					r.Extra = true
				}
			}
		case unix.RTA_CACHEINFO, unix.RTA_PREF: // every IPv6 route has them
		default:
			r.Extra = true
		}
	}
	if r.Type == unix.RTN_UNREACHABLE {
		r.Interface = 0 // IPv6 reports lo
	}
	r.Destination = netip.PrefixFrom(dst, int(b[1]))
	return r, r.Destination.IsValid()
}

// AddRoute adds a route with NLM_F_EXCL or NLM_F_REPLACE. It succeeds without
// effect if the interface is gone or down by then.
func AddRoute(r Route, flags uint16) Change {
	c := routeChange("add ", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags, r)
	c.accept = []unix.Errno{unix.ENODEV, unix.ENETDOWN}
	return c
}

// DeleteRoute deletes a route. It succeeds if there is none.
func DeleteRoute(r Route) Change {
	c := routeChange("delete ", unix.RTM_DELROUTE, 0, r)
	c.accept = []unix.Errno{unix.ESRCH, unix.ENOENT, unix.ENODEV}
	return c
}

func routeChange(verb string, typ, flags uint16, r Route) Change {
	return Change{what: verb + r.String(), typ: typ, flags: flags, fill: func(e *Encoder) {
		family := byte(unix.AF_INET)
		if r.Destination.Addr().Is6() {
			family = unix.AF_INET6
		}
		e.routeHeader(family, r.Destination.Bits(), r.Table, r.Protocol, r.Scope, r.Type)
		e.Bytes(unix.RTA_DST, r.Destination.Addr().AsSlice())
		e.Uint32(unix.RTA_TABLE, uint32(r.Table))
		e.Uint32(unix.RTA_PRIORITY, r.Metric)
		if r.Interface != 0 {
			e.Uint32(unix.RTA_OIF, r.Interface)
		}
		if r.MTU != 0 {
			at := e.Nest(unix.RTA_METRICS)
			e.Uint32(unix.RTAX_MTU, r.MTU)
			e.EndNest(at)
		}
	}}
}
