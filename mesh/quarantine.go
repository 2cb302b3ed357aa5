package mesh

import "net/netip"

// heldNetworks are what nodes that are held back announce and no peer has. Until
// somebody has decided about the node, packets for that go into the tunnel, where
// they are dropped: past it they would leave in the clear.
func heldNetworks(in *Input, known *nodes, pins []Pin, routes []Route) []netip.Prefix {
	if len(known.held) == 0 || !in.Config.ForceRouting || in.Config.NoRouting {
		return nil
	}
	var (
		refuse = newRefusals(in, len(known.held))
		want   = reserved(in)
		silent conditions // the one of the node says it all
	)
	for i := range routes {
		want = append(want, spanOf(routes[i].Prefix, nobody))
	}
	for _, b := range bypasses(in) {
		want = append(want, spanOf(b.prefix, nobody))
	}
	for i, a := range known.held {
		c := candidate{Affiliate: a}
		// Its name is what it was before, unless somebody else is called so now.
		if p := pinOf(pins, a.NodeID); p != nil && known.names[p.Nodename] == nil {
			c.name = p.Nodename
		}
		want = c.appendWanted(want, i, &refuse, &silent)
	}
	had, _ := settle(want, len(known.held))
	var out []netip.Prefix
	for _, s := range had {
		if s.owner != nobody {
			out = append(out, s.prefixes()...)
		}
	}
	return out
}
