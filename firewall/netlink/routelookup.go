package netlink

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// RouteQuery describes a packet whose route is looked up.
type RouteQuery struct {
	Destination netip.Addr
	Source      netip.Addr // invalid: the kernel chooses
	Interface   uint32     // by which the packet comes in; 0: a local process sends it
	Out         uint32     // by which a local process sends the packet; 0: any
	Mark        uint32
	Entry       bool // the entry of the table, rather than a route to this destination
}

// RouteResult is the result of a route look-up.
type RouteResult struct {
	Route
	Gateway netip.Addr // invalid: the destination is on the link
	Source  netip.Addr // that the kernel would choose
	Hops    []NextHop  // all of the entry
}

// LookupRoute returns the route that the kernel takes for a packet. The errno of
// an error tells why there is none.
func (r *RTNetlink) LookupRoute(q RouteQuery) (RouteResult, error) {
	q.Destination, q.Source = q.Destination.Unmap(), q.Source.Unmap()
	family := byte(unix.AF_INET)
	if q.Destination.Is6() {
		family = unix.AF_INET6
	}
	var result RouteResult
	err := r.request(unix.RTM_GETROUTE, 0, func(e *Encoder) {
		at := len(e.b)
		e.routeHeader(family, q.Destination.BitLen(), 0, 0, 0, 0)
		var flags uint32
		if family == unix.AF_INET { // IPv6 reports the table anyway, and refuses the flag
			flags = unix.RTM_F_LOOKUP_TABLE
		}
		if q.Entry {
			flags |= unix.RTM_F_FIB_MATCH
		}
		putUint32(e.b[at+8:], flags)
		e.Bytes(unix.RTA_DST, q.Destination.AsSlice())
		if q.Source.IsValid() {
			e.b[at+2] = byte(q.Source.BitLen())
			e.Bytes(unix.RTA_SRC, q.Source.AsSlice())
		}
		if q.Interface != 0 {
			e.Uint32(unix.RTA_IIF, q.Interface)
		}
		if q.Out != 0 {
			e.Uint32(unix.RTA_OIF, q.Out)
		}
		if q.Mark != 0 {
			e.Uint32(unix.RTA_MARK, q.Mark)
		}
	}, func(m Message) { result = parseRouteResult(m) })
	return result, err
}

// parseRouteResult decodes the answer to a look-up, which has the form of an
// entry of the route cache.
func parseRouteResult(m Message) (r RouteResult) {
	if len(m.Body) < unix.SizeofRtMsg {
		return RouteResult{}
	}
	r.Route, _ = parseRoute(m.Body)
	r.Hops = NextHops(m)
	attributes := m.Body[unix.SizeofRtMsg:]
	r.Gateway, _ = netip.AddrFromSlice(Attribute(attributes, unix.RTA_GATEWAY))
	r.Source, _ = netip.AddrFromSlice(Attribute(attributes, unix.RTA_PREFSRC))
	return r
}
