package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// Query asks what the kernel does with a packet.
type Query struct {
	firewall.Numbers
	Destination netip.Addr
	Source      netip.Addr // optional
	// From is the interface that the packet comes in by; empty: it is of a local
	// process, and then a Source must be one of this node's addresses.
	From string
}

// KernelView is what the kernel has for a packet, whatever the agent believes.
type KernelView struct {
	Table    bool      `json:"table"`              // our nftables table is there
	Routed   bool      `json:"routed"`             // the destination is in the set of routed networks
	Network  string    `json:"network,omitempty"`  // the element of the set that has it
	Mark     uint32    `json:"mark"`               // that a packet without one gets
	Rule     bool      `json:"rule"`               // the routing rule of that family is there
	Unmarked RouteView `json:"unmarked"`           // where it goes without a mark
	Marked   RouteView `json:"marked"`             // where it goes with the tunnel's
	Warnings []string  `json:"warnings,omitempty"` // of the last Apply
}

// RouteView is the result of a route look-up.
type RouteView struct {
	Type      string     `json:"type"` // unicast, local, unreachable, martian …; none: no route
	Table     int        `json:"table,omitempty"`
	Interface string     `json:"interface,omitempty"`
	Gateway   netip.Addr `json:"gateway,omitzero"`
	Source    netip.Addr `json:"source,omitzero"`
}

// Lookup asks the kernel about a packet. It changes nothing, and needs no
// earlier Apply.
func (f *Firewall) Lookup(ctx context.Context, q Query) (KernelView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return KernelView{}, err
	}
	v := KernelView{Warnings: slices.Clone(f.warnings)}
	v6 := q.Destination.Is6()
	got, err := f.nft.inspect(q.Table)
	if err != nil {
		return KernelView{}, err
	}
	if v.Table = got.exists; v.Table {
		if v.Network, err = f.nft.member(q.Table, firewall.RoutedSet(v6), q.Destination); err != nil {
			return KernelView{}, err
		}
	}
	if v.Routed = v.Network != ""; v.Routed {
		v.Mark = q.TunnelMark
	}
	family := byte(unix.AF_INET)
	if v6 {
		family = unix.AF_INET6
	}
	if slices.Contains(f.families, family) {
		rules, err := f.route.rules(family)
		if err != nil {
			return KernelView{}, err
		}
		v.Rule = slices.ContainsFunc(rules, func(r rule) bool {
			return !r.special && !r.NotDefault && r.Priority == q.RulePriority && r.Mark == q.TunnelMark && r.Mask == q.Mask && r.Table == q.RoutingTable
		})
	}
	if v.Unmarked, err = f.route.find(family, q, 0); err != nil {
		return KernelView{}, err
	}
	v.Marked, err = f.route.find(family, q, q.TunnelMark)
	return v, err
}

// member returns the element of a set that has the address, or nothing.
func (s *socket) member(table, set string, a netip.Addr) (string, error) {
	ask := func(end bool) (netip.Addr, error) {
		var found []element
		err := s.request(nftType(unix.NFT_MSG_GETSETELEM), 0, func(e *encoder) {
			header(e)
			e.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
			e.str(unix.NFTA_SET_ELEM_LIST_SET, set)
			list := e.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
			e.element(a, end)
			e.endNest(list)
		}, func(m message) { found = appendElements(found, m) })
		if err != nil || len(found) == 0 {
			return netip.Addr{}, err
		}
		return found[0].key, nil
	}
	from, err := ask(false)
	switch {
	case errors.Is(err, unix.ENOENT) || err == nil && !from.IsValid():
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look up %s in set %s: %w", a, set, hinted(err))
	}
	to, err := ask(true)
	if err != nil || !to.IsValid() || !from.Less(to) {
		to = netip.Addr{}
	}
	return interval{from, to}.String(), nil
}

// find looks a route up, as the kernel does for a packet with this mark.
func (s *socket) find(family byte, q Query, mark uint32) (RouteView, error) {
	var in link
	if q.From != "" {
		var err error
		if in, err = s.link(q.From); err != nil {
			return RouteView{}, err
		}
		if in.index == 0 {
			return RouteView{}, fmt.Errorf("there is no interface %s", q.From)
		}
	}
	var got route
	var v RouteView
	err := s.request(unix.RTM_GETROUTE, 0, func(e *encoder) {
		at := len(e.b)
		routeHeader(e, family, q.Destination.BitLen(), 0, 0, 0, 0)
		if family == unix.AF_INET { // IPv6 tells the table anyway, and refuses to be asked
			putHost32(e.b[at+8:], unix.RTM_F_LOOKUP_TABLE)
		}
		e.bytes(unix.RTA_DST, q.Destination.AsSlice())
		if q.Source.IsValid() {
			e.b[at+2] = byte(q.Source.BitLen())
			e.bytes(unix.RTA_SRC, q.Source.AsSlice())
		}
		if in.index != 0 {
			e.ne32(unix.RTA_IIF, in.index)
		}
		if mark != 0 {
			e.ne32(unix.RTA_MARK, mark)
		}
	}, func(m message) { got, v = routeView(m) })
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ESRCH):
		return RouteView{Type: "none"}, nil
	case errors.Is(err, unix.EHOSTUNREACH):
		return RouteView{Type: "unreachable"}, nil
	case errors.Is(err, unix.EACCES):
		return RouteView{Type: "prohibit"}, nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL):
		return RouteView{Type: "martian"}, nil // also what rp_filter drops
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return RouteView{Type: "none"}, nil // no IPv6 in this kernel
	case err != nil:
		return RouteView{}, fmt.Errorf("look up the route to %s: %w", q.Destination, err)
	}
	if got.oif != 0 {
		if v.Interface, err = s.linkName(got.oif); err != nil {
			return RouteView{}, err
		}
	}
	return v, nil
}

func routeView(m message) (route, RouteView) {
	if len(m.body) < unix.SizeofRtMsg {
		return route{}, RouteView{}
	}
	clone := slices.Clone(m.body) // a look-up's result is marked as a cache's entry
	putHost32(clone[8:], 0)
	m.body = clone
	r, _ := parseRoute(m)
	v := RouteView{Type: typeName(r.typ), Table: r.table}
	for typ, b := range attributes(m.body[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_GATEWAY:
			v.Gateway, _ = netip.AddrFromSlice(b)
		case unix.RTA_PREFSRC:
			v.Source, _ = netip.AddrFromSlice(b)
		}
	}
	return r, v
}

func typeName(typ byte) string {
	names := []string{"none", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit"}
	if int(typ) < len(names) {
		return names[typ]
	}
	return "other"
}
