package nft

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// route is an entry of a routing table in the kernel.
type route struct {
	routeKey
	typ, protocol, scope, tos byte
	oif                       uint32 // 0 if unreachable
	mtu                       uint32
	special                   bool // has a gateway, a source, or anything else that ours never have
}

// routeKey is what there is one route for at most.
type routeKey struct {
	dst    netip.Prefix
	table  int
	metric uint32
}

func (r route) String() string {
	s := r.dst.String()
	if r.dst.Bits() == 0 {
		s = "default (" + s + ")"
	}
	if r.typ == unix.RTN_UNREACHABLE {
		s = "unreachable " + s
	}
	return fmt.Sprintf("route %s of metric %d in routing table %d", s, r.metric, r.table)
}

// desired is a route as the kernel should have it; oif is that of its interface.
func desired(r *firewall.Route, oif uint32) route {
	out := route{
		routeKey: routeKey{r.Destination, r.Table, uint32(r.Metric)},
		typ:      unix.RTN_UNREACHABLE, protocol: unix.RTPROT_STATIC, scope: unix.RT_SCOPE_UNIVERSE,
		mtu: uint32(r.MTU),
	}
	if r.Interface != "" {
		out.typ, out.oif = unix.RTN_UNICAST, oif
	}
	return out
}

// routes are those of a table (of some type, unless that is zero).
func (s *socket) routes(family byte, table int, typ byte) ([]route, error) {
	var out []route
	err := s.dump(unix.RTM_GETROUTE, func(e *encoder) {
		routeHeader(e, family, 0, table, 0, 0, typ)
		e.ne32(unix.RTA_TABLE, uint32(table))
	}, func() { out = out[:0] }, func(m message) {
		r, ok := parseRoute(m)
		if ok && r.table == table && (typ == 0 || r.typ == typ) {
			out = append(out, r)
		}
	})
	if err != nil && !errors.Is(err, unix.ENOENT) { // no such table yet
		return nil, fmt.Errorf("list the routes of table %d: %w", table, err)
	}
	return out, nil
}

// routeHeader is struct rtmsg.
func routeHeader(e *encoder, family byte, bits, table int, protocol, scope, typ byte) {
	low := byte(unix.RT_TABLE_UNSPEC)
	if table < 256 {
		low = byte(table)
	}
	e.b = append(e.b, family, byte(bits), 0, 0, low, protocol, scope, typ, 0, 0, 0, 0)
}

// parseRoute leaves out what are no routes: entries of caches.
func parseRoute(m message) (route, bool) {
	if m.typ != unix.RTM_NEWROUTE && m.typ != unix.RTM_DELROUTE || len(m.body) < unix.SizeofRtMsg ||
		ne32(m.body[8:])&unix.RTM_F_CLONED != 0 {
		return route{}, false
	}
	b := m.body
	r := route{
		routeKey: routeKey{table: int(b[4])},
		tos:      b[3], protocol: b[5], scope: b[6], typ: b[7], special: b[2] != 0,
	}
	dst := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for typ, v := range attributes(b[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(v)
		case unix.RTA_TABLE:
			r.table = int(ne32(v))
		case unix.RTA_PRIORITY:
			r.metric = ne32(v)
		case unix.RTA_OIF:
			r.oif = ne32(v)
		case unix.RTA_METRICS:
			for typ, v := range attributes(v) {
				if typ == unix.RTAX_MTU {
					r.mtu = ne32(v)
				} else {
					r.special = true
				}
			}
		case unix.RTA_CACHEINFO, unix.RTA_PREF: // say nothing of ours
		default:
			r.special = true
		}
	}
	if r.typ == unix.RTN_UNREACHABLE {
		r.oif = 0 // IPv6 has lo there
	}
	r.dst = netip.PrefixFrom(dst, int(b[1]))
	return r, r.dst.IsValid()
}

// change is a request to rtnetlink that succeeds or changes nothing.
type change struct {
	what       string
	typ, flags uint16
	fill       func(*encoder)
	fine       []unix.Errno // which mean that there is nothing to do, or nothing yet
}

func addRoute(r route, flags uint16) change {
	c := routeChange("add ", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags, r)
	c.fine = []unix.Errno{unix.ENODEV, unix.ENETDOWN} // the interface went meanwhile; it will be seen
	return c
}

func deleteRoute(r route) change {
	c := routeChange("delete ", unix.RTM_DELROUTE, 0, r)
	c.fine = []unix.Errno{unix.ESRCH, unix.ENOENT, unix.ENODEV}
	return c
}

func routeChange(what string, typ, flags uint16, r route) change {
	return change{what: what + r.String(), typ: typ, flags: flags, fill: func(e *encoder) {
		family := byte(unix.AF_INET)
		if r.dst.Addr().Is6() {
			family = unix.AF_INET6
		}
		routeHeader(e, family, r.dst.Bits(), r.table, r.protocol, r.scope, r.typ)
		e.bytes(unix.RTA_DST, r.dst.Addr().AsSlice())
		e.ne32(unix.RTA_TABLE, uint32(r.table))
		e.ne32(unix.RTA_PRIORITY, r.metric)
		if r.oif != 0 {
			e.ne32(unix.RTA_OIF, r.oif)
		}
		if r.mtu != 0 {
			at := e.nest(unix.RTA_METRICS)
			e.ne32(unix.RTAX_MTU, r.mtu)
			e.endNest(at)
		}
	}}
}

// change makes changes in order, up to the first that the kernel refuses.
func (f *Firewall) change(all []change) error {
	const atOnce = 256 // answers to so many fit into the receive buffer
	for len(all) > 0 {
		n := min(atOnce, len(all))
		if err := f.route.changes(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

func (s *socket) changes(all []change) error {
	var e encoder
	first := s.seq + 1
	for i, c := range all {
		flags := c.flags
		if i == len(all)-1 {
			flags |= unix.NLM_F_ACK
		}
		at := e.message(c.typ, flags, s.next())
		c.fill(&e)
		e.end(at)
	}
	if err := s.send(e.b); err != nil {
		return fmt.Errorf("%s: %w", all[0].what, err)
	}
	var failed error
	for done := false; ; {
		got, err := s.receive()
		switch {
		case errors.Is(err, unix.EAGAIN) && failed == nil && !done:
			return fmt.Errorf("%s: %w", all[len(all)-1].what, errNoAnswer)
		case errors.Is(err, unix.EAGAIN):
			return failed
		case err != nil:
			return fmt.Errorf("%s: %w", all[0].what, err)
		}
		for m := range got {
			i := int(int32(m.seq - first))
			if m.typ != unix.NLMSG_ERROR || i < 0 || i >= len(all) {
				continue
			}
			done = done || i == len(all)-1
			if err := all[i].outcome(kernelError(m)); err != nil && failed == nil {
				failed = err
			}
		}
	}
}

func (c *change) outcome(err error) error {
	for _, fine := range c.fine {
		if errors.Is(err, fine) {
			return nil
		}
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", c.what, hinted(err))
}

// link is an interface.
type link struct {
	index uint32
	up    bool
}

// link finds an interface; its index is 0 if there is none.
func (s *socket) link(name string) (link, error) {
	var l link
	err := s.request(unix.RTM_GETLINK, 0, func(e *encoder) {
		e.b = append(e.b, make([]byte, unix.SizeofIfInfomsg)...)
		e.str(unix.IFLA_IFNAME, name)
	}, func(m message) { l, _ = parseLink(m) })
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return link{}, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return l, nil
}

func parseLink(m message) (l link, name string) {
	if len(m.body) < unix.SizeofIfInfomsg {
		return link{}, ""
	}
	l.index, l.up = ne32(m.body[4:]), ne32(m.body[8:])&unix.IFF_UP != 0
	for typ, v := range attributes(m.body[unix.SizeofIfInfomsg:]) {
		if typ == unix.IFLA_IFNAME {
			name = text(v)
		}
	}
	return l, name
}

// linkName is empty if there is no such interface any more.
func (s *socket) linkName(index uint32) (string, error) {
	var name string
	err := s.request(unix.RTM_GETLINK, 0, func(e *encoder) {
		at := len(e.b)
		e.b = append(e.b, make([]byte, unix.SizeofIfInfomsg)...)
		putHost32(e.b[at+4:], index)
	}, func(m message) { _, name = parseLink(m) })
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return "", fmt.Errorf("look up interface %d: %w", index, err)
	}
	return name, nil
}
