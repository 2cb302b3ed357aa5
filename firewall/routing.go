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

// routingRules returns the rules that lead marked packets to the tunnel's table. If
// main has no default route, packets without a mark find the routed networks in
// that table, too.
func (c compiler) routingRules() []RoutingRule {
	var out []RoutingRule
	for _, v6 := range []bool{false, true} {
		out = append(out, RoutingRule{
			IPv6: v6, Priority: c.p.RulePriority, Mark: c.p.TunnelMark, Mask: c.p.Mask, Table: c.p.RoutingTable,
		})
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
	tunnel := func(p netip.Prefix) Route {
		return Route{Destination: p, Table: c.p.RoutingTable, Interface: c.p.Interface, Metric: 1, MTU: c.p.MTU}
	}
	out := []Route{
		tunnel(default4),
		tunnel(default6),
		{Destination: default4, Table: c.p.RoutingTable, Metric: UnreachableMetric},
		{Destination: default6, Table: c.p.RoutingTable, Metric: UnreachableMetric},
	}
	if c.p.Subnet.IsValid() {
		out = append(out, Route{Destination: c.p.Subnet, Table: RouteMain, Metric: UnreachableMetric})
	}
	if c.p.NoDefault4 {
		for _, n := range routed4 {
			out = append(out, tunnel(n))
		}
	}
	if c.p.NoDefault6 {
		for _, n := range routed6 {
			out = append(out, tunnel(n))
		}
	}
	return out
}
