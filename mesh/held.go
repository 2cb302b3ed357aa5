package mesh

import (
	"net/netip"
	"strings"
	"time"
)

// Held is a network that no peer has, and that is not in the clear either: packets for it
// are dropped. It belongs to a node that is gone, in conflict, or beyond a limit.
type Held struct {
	Prefix netip.Prefix
	NodeID string
	Name   string    // nodename; may be empty
	Since  time.Time // when the node vanished; zero if it is there
}

// holding reports whether networks are held at all.
func (in *Input) holding() bool {
	return in.Config.ForceRouting && !in.Config.NoRouting && in.Config.HoldNetworks > 0
}

// heldNodes returns a candidate for each pin whose networks nobody else may have yet, or
// that are kept out of the clear. It drops the networks of those that were gone for too
// long.
func (r *roster) heldNodes(in *Input, now time.Time) []candidate {
	var out []candidate
	for _, p := range r.order {
		if r.byID[p.NodeID] != nil || len(p.Networks) == 0 {
			continue
		}
		if !p.Gone.IsZero() && now.Sub(p.Gone) >= in.Config.HoldNetworks {
			p.Networks = nil
			continue
		}
		a := &Affiliate{NodeID: p.NodeID, Nodename: p.Nodename}
		out = append(out, candidate{Affiliate: a, name: p.Nodename, pin: p, passing: p.gone(now)})
	}
	return out
}

// appendHeld appends the networks of a node that is not there, less those that this node
// reaches without the mesh.
func (c *candidate) appendHeld(claims []span, index int, not []netip.Prefix) []span {
	first := len(claims)
	for _, n := range c.pin.Networks {
		rank := rankIncumbent
		switch {
		case c.passing:
			rank = rankHeld
		case IsBroad(n):
			rank = rankBroadIncumbent
		}
		claims = appendSpan(claims, n, owner{rank, int32(index)})
	}
	return cut(claims, first, not)
}

// clearPrefixes returns what is never held: what this node excludes, its site, and the
// networks of its own links.
func clearPrefixes(in *Input) []netip.Prefix {
	var out []netip.Prefix
	for _, b := range bypasses(in) {
		out = append(out, b.prefix)
	}
	for i := range in.Host.Links {
		l := &in.Host.Links[i]
		for _, p := range l.Addresses {
			if p = unmapPrefix(p); l.Up && p.IsValid() {
				out = append(out, p.Masked())
			}
		}
	}
	return out
}

// heldShares returns the shares of nodes that are no peers, in the order of all.
func heldShares(all []candidate, shares []span) []Held {
	byOwner := map[int32][]netip.Prefix{}
	for i := range shares {
		s := &shares[i]
		if s.owner != noOwner && all[s.owner.index].pin != nil {
			byOwner[s.owner.index] = append(byOwner[s.owner.index], s.prefixes()...)
		}
	}
	var out []Held
	for i := range all {
		for _, n := range byOwner[int32(i)] {
			out = append(out, Held{n, all[i].NodeID, all[i].name, all[i].pin.Gone})
		}
	}
	return out
}

// reportHeld adds one condition for each node whose networks are held.
func reportHeld(held []Held, cs *conditions) {
	for start, end := 0, 0; start < len(held); start = end {
		h := held[start]
		var list []string
		for end = start; end < len(held) && held[end].NodeID == h.NodeID; end++ {
			list = append(list, held[end].Prefix.String())
		}
		const named = 4
		text := strings.Join(bounded(list, named), ", ")
		if len(list) > named {
			text += ", …"
		}
		why := "is not what it was when they were routed to it"
		if !h.Since.IsZero() {
			why = "has been gone since " + h.Since.Format(time.RFC3339)
		}
		display := (&Affiliate{NodeID: h.NodeID, Nodename: h.Name}).displayName()
		cs.add(ConditionNetworksHeld, display,
			"%s belong to %q (node %s), which %s: packets for them are dropped and not sent in the clear; wirespan forget %s gives them up",
			text, display, h.NodeID, why, shellWord(h.NodeID))
	}
}
