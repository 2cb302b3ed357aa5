package firewall

import "net/netip"

// UnreachableMetric is that of the routes that refuse packets once the tunnel's
// own routes are gone: the highest that is a valid int everywhere.
const UnreachableMetric = 1<<31 - 1

// FallbackPriority is that of the rules for families without a default route:
// behind those of the main and default tables.
const FallbackPriority = 32768

var (
	default4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	default6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// routingRules send what is marked to the tunnel's table. Where main has no
// default route, what is not marked yet finds the routed networks there, too.
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

// routes are the tunnel's, and those that outlive it.
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
