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
	var out []Route
	for _, d := range []netip.Prefix{default4, default6} {
		if c.hasDefault(d.Addr().Is6()) {
			out = append(out, c.tunnel(d, c.p.RoutingTable))
		}
	}
	for _, d := range []netip.Prefix{default4, default6} {
		if c.hasDefault(d.Addr().Is6()) {
			out = append(out, unreachable(d, c.p.RoutingTable))
		}
	}
	if c.p.Subnet.IsValid() {
		out = append(out, unreachable(c.p.Subnet, RouteMain))
	}
	return append(append(out, c.networkRoutes(routed4, false)...), c.networkRoutes(routed6, true)...)
}

// hasDefault reports whether the tunnel's table has default routes, because only
// marked packets are looked up there.
func (c compiler) hasDefault(v6 bool) bool { return c.p.ByMark() && !c.p.Lacks.Has(rulesOf(v6)) }

// networkRoutes returns the routes that packets without a mark find.
func (c compiler) networkRoutes(routed []netip.Prefix, v6 bool) []Route {
	var out []Route
	switch {
	case c.p.Lacks.Has(rulesOf(v6)): // the kernel has no table but main
		for _, n := range routed {
			if n.Bits() > 0 {
				out = append(out, c.tunnel(n, RouteMain), unreachable(n, RouteMain))
			}
		}
	case !c.p.ByMark():
		if v6 && c.p.Subnet.IsValid() {
			out = append(out, c.tunnel(c.p.Subnet, c.p.RoutingTable), unreachable(c.p.Subnet, c.p.RoutingTable))
		}
		for _, n := range routed {
			out = append(out, c.tunnel(n, c.p.RoutingTable), unreachable(n, c.p.RoutingTable))
		}
	case v6 && c.p.NoDefault6, !v6 && c.p.NoDefault4:
		for _, n := range routed {
			out = append(out, c.tunnel(n, c.p.RoutingTable))
		}
	}
	return out
}

func (c compiler) tunnel(n netip.Prefix, table int) Route {
	return Route{Destination: n, Table: table, Interface: c.p.Interface, Metric: 1, MTU: c.p.MTU}
}

func unreachable(n netip.Prefix, table int) Route {
	return Route{Destination: n, Table: table, Metric: UnreachableMetric}
}
