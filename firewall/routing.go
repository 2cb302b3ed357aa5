package firewall

import "net/netip"

// UnreachableMetric is the metric of the unreachable routes, which refuse packets
// when the tunnel's own routes are gone. It is the largest value that fits an int
// on every platform.
const UnreachableMetric = 1<<31 - 1

// FallbackPriority is the priority of the rules for families without a default
// route. It follows those of tables main and default.
const FallbackPriority = 32768

var (
	default4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	default6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// routingRules returns the rules that lead packets to the tunnel's table: marked
// ones or, without marks, all but encrypted ones, for which that table then has only
// what is routed. If main has no default route, packets without a mark find the
// routed networks in that table, too.
func (c compiler) routingRules() []RoutingRule {
	var out []RoutingRule
	for _, v6 := range []bool{false, true} {
		rule := RoutingRule{IPv6: v6, Priority: c.p.RulePriority, Mark: c.p.TunnelMark, Mask: c.p.Mask, Table: c.p.RoutingTable}
		switch {
		case c.p.Lacks.Has(rulesOf(v6)):
			continue
		case !c.p.ByMark():
			rule.Mark = 0
			out = append(out, rule)
			continue
		}
		out = append(out, rule)
		if v6 && c.p.NoDefault6 || !v6 && c.p.NoDefault4 {
			out = append(out, RoutingRule{
				IPv6: v6, Priority: FallbackPriority, Mask: c.p.Mask, Table: c.p.RoutingTable, NotDefault: true,
			})
		}
	}
	return out
}

// routes returns the routes through the tunnel, and the unreachable ones that
// outlive it.
func (c compiler) routes(routed4, routed6 []netip.Prefix) []Route {
	r := routeList{policy: c.p}
	var defaults []netip.Prefix
	for _, d := range []netip.Prefix{default4, default6} {
		if c.hasDefault(d.Addr().Is6()) {
			defaults = append(defaults, d)
		}
	}
	for _, d := range defaults {
		r.tunnel(d, c.p.RoutingTable)
	}
	for _, d := range defaults {
		r.unreachable(d, c.p.RoutingTable)
	}
	if c.p.Subnet.IsValid() {
		r.unreachable(c.p.Subnet, RouteMain)
	}
	c.addNetworks(&r, routed4, false)
	c.addNetworks(&r, routed6, true)
	return r.routes
}

// hasDefault reports whether the tunnel's table has default routes, because only
// marked packets are looked up there.
func (c compiler) hasDefault(v6 bool) bool { return c.p.ByMark() && !c.p.Lacks.Has(rulesOf(v6)) }

// addNetworks adds the routes that packets without a mark find.
func (c compiler) addNetworks(r *routeList, routed []netip.Prefix, v6 bool) {
	switch {
	case c.p.Lacks.Has(rulesOf(v6)): // the kernel has no table but main
		for _, n := range routed {
			if n.Bits() > 0 {
				r.both(n, RouteMain)
			}
		}
	case !c.p.ByMark():
		if v6 && c.p.Subnet.IsValid() {
			r.both(c.p.Subnet, c.p.RoutingTable)
		}
		for _, n := range routed {
			r.both(n, c.p.RoutingTable)
		}
	case v6 && c.p.NoDefault6, !v6 && c.p.NoDefault4:
		for _, n := range routed {
			r.tunnel(n, c.p.RoutingTable)
		}
	}
}

// routeList is a list of routes of a policy.
type routeList struct {
	policy *Policy
	routes []Route
}

func (l *routeList) tunnel(n netip.Prefix, table int) {
	l.routes = append(l.routes, Route{Destination: n, Table: table, Interface: l.policy.Interface, Metric: 1, MTU: l.policy.MTU})
}

func (l *routeList) unreachable(n netip.Prefix, table int) {
	l.routes = append(l.routes, Route{Destination: n, Table: table, Metric: UnreachableMetric})
}

// both adds a route through the tunnel, and the unreachable one behind it.
func (l *routeList) both(n netip.Prefix, table int) {
	l.tunnel(n, table)
	l.unreachable(n, table)
}
