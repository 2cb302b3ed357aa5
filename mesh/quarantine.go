package mesh

import "net/netip"

// quarantinedNetworks returns what quarantined nodes announce and no peer has.
// Until the user decides about the node, packets for these networks go into the
// tunnel, where they are dropped; past it they would leave in the clear.
func quarantinedNetworks(in *Input, known *nodes, pins []Pin, routes []Route) []netip.Prefix {
	if len(known.quarantined) == 0 || !in.Config.ForceRouting || in.Config.NoRouting {
		return nil
	}
	var (
		rules  = newClaimRules(in)
		claims = reserved(in)
		unused conditions // the node has ConditionIdentityChanged, which is enough
	)
	for i := range routes {
		claims = append(claims, spanOf(routes[i].Prefix, noOwner))
	}
	for _, b := range bypasses(in) {
		claims = append(claims, spanOf(b.prefix, noOwner))
	}
	for i, a := range known.quarantined {
		c := candidate{Affiliate: a}
		// It keeps the name that it was pinned with, unless another node has it now.
		if p := pinOf(pins, a.NodeID); p != nil && known.names[p.Nodename] == nil {
			c.name = p.Nodename
		}
		claims = c.appendClaims(claims, i, &rules, &unused)
	}
	shares, _ := divide(claims)
	var out []netip.Prefix
	for _, s := range shares {
		if s.owner != noOwner {
			out = append(out, s.prefixes()...)
		}
	}
	return out
}
