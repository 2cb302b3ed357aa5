package nft

import (
	"fmt"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// kernelRoute returns a route as the kernel should have it; index is that of the
// route's interface.
func kernelRoute(r *firewall.Route, index uint32) netlink.Route {
	out := netlink.Route{
		RouteKey: keyOf(r),
		Type:     unix.RTN_UNREACHABLE, Protocol: unix.RTPROT_STATIC, Scope: unix.RT_SCOPE_UNIVERSE,
		MTU: uint32(r.MTU),
	}
	if r.Interface != "" {
		out.Type, out.Interface = unix.RTN_UNICAST, index
	}
	return out
}

func keyOf(r *firewall.Route) netlink.RouteKey {
	return netlink.RouteKey{Destination: r.Destination, Table: r.Table, Metric: uint32(r.Metric)}
}

// planRoutes adds the missing routes of rs, and removes other routes of ours.
// Routes through an interface that is missing or down are left out.
func (r *routing) planRoutes(p *routingPlan, rs *firewall.Ruleset, state *routingState) error {
	existing, err := p.ourRoutes(rs, state)
	if err != nil {
		return err
	}
	disabled := map[string]bool{} // whether IPv6 is, by interface
	for i := range rs.Routes {
		route := &rs.Routes[i]
		v6 := route.Destination.Addr().Is6()
		if !r.supports(v6) {
			continue
		}
		l := state.links[route.Interface]
		want := kernelRoute(route, l.Index)
		have, exists := existing[want.RouteKey]
		delete(existing, want.RouteKey)
		if route.Interface != "" && !l.Up || exists && have == want {
			continue
		}
		if route.Interface != "" && v6 && p.ipv6Disabled(route.Interface, disabled) {
			continue
		}
		p.addRoute(want, have, exists)
	}
	r.planStaleRoutes(p, existing)
	return nil
}

// ourRoutes returns the routes of ours by their keys, and removes duplicates. It
// returns an error if a route of others is in a table of rs other than main.
func (p *routingPlan) ourRoutes(rs *firewall.Ruleset, state *routingState) (map[netlink.RouteKey]netlink.Route, error) {
	own := map[int]bool{} // tables that are for the routes of rs alone
	for i := range rs.Routes {
		if table := rs.Routes[i].Table; table != firewall.RouteMain {
			own[table] = true
		}
	}
	existing := make(map[netlink.RouteKey]netlink.Route, len(state.routes))
	for _, have := range state.routes {
		_, duplicate := existing[have.RouteKey]
		switch {
		case !state.isOurs(have):
			if own[have.Table] {
				return nil, fmt.Errorf("the %s was not added by wirespan: remove it, or choose another table as firewall.routingTable", have)
			}
		case duplicate && have.Table != firewall.RouteMain:
			p.remove = append(p.remove, netlink.DeleteRoute(have))
		default:
			existing[have.RouteKey] = have
		}
	}
	return existing, nil
}

// isOurs reports whether a route looks like those that Apply adds: static, and
// either unreachable or through a tunnel without a gateway.
func (s *routingState) isOurs(r netlink.Route) bool {
	if r.Extra || r.Protocol != unix.RTPROT_STATIC || r.TOS != 0 {
		return false
	}
	if r.Type == unix.RTN_UNREACHABLE {
		return true
	}
	for _, l := range s.links {
		if l.Index == r.Interface {
			return r.Type == unix.RTN_UNICAST && r.Interface != 0
		}
	}
	return false
}

// ipv6Disabled reports whether IPv6 is disabled on an interface. It warns once
// per interface; cache holds the earlier answers.
func (p *routingPlan) ipv6Disabled(name string, cache map[string]bool) bool {
	disabled, cached := cache[name]
	if !cached {
		disabled = IPv6Disabled(name)
		cache[name] = disabled
		if disabled {
			p.warnings = append(p.warnings, fmt.Sprintf("IPv6 is disabled on interface %s, which therefore gets no IPv6 routes (sysctl -w net.ipv6.conf.%[1]s.disable_ipv6=0 enables it)", name))
		}
	}
	return disabled
}

// addRoute adds a route, in place of an existing one with the same key.
func (p *routingPlan) addRoute(want, have netlink.Route, exists bool) {
	list := &p.add
	if want.Type == unix.RTN_UNREACHABLE {
		list = &p.unreachable
	}
	flags := uint16(unix.NLM_F_EXCL)
	switch {
	case exists && have.Type == unix.RTN_UNICAST && want.Type == unix.RTN_UNICAST:
		flags = unix.NLM_F_REPLACE
	case exists:
		*list = append(*list, netlink.DeleteRoute(have))
	}
	*list = append(*list, netlink.AddRoute(want, flags))
}

// planStaleRoutes removes routes of ours that the ruleset no longer has. In main,
// only routes of an installed ruleset count as ours.
func (r *routing) planStaleRoutes(p *routingPlan, stale map[netlink.RouteKey]netlink.Route) {
	out := make([]netlink.Route, 0, len(stale))
	for _, have := range stale {
		if have.Table != firewall.RouteMain || r.installed.hasRoute(have.RouteKey) {
			out = append(out, have)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	for _, have := range out {
		p.remove = append(p.remove, netlink.DeleteRoute(have))
	}
}
