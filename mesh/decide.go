package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"
)

// Decide maps what is known at the time now to what should be true. It is the
// whole policy of the mesh. Equal inputs give equal plans; the order of
// in.Affiliates doesn't matter, but their node ids must differ.
func Decide(in Input, now time.Time) (plan Plan) {
	var (
		cs    conditions
		addrs = hostAddresses(&in)
	)
	plan.Local = localAffiliate(&in, addrs, &cs)
	known := newRoster(&in, &plan.Local, now)
	known.admit(&in, others(&in), now, &cs)
	plan.Local.Nodename = known.ownName(&in, now, &cs)
	known.nameOwners(&cs)
	plan.Members = members(known.names)
	if in.meshing() {
		plan.Specs, plan.Held = peerSpecs(&in, known, addrs, now, &cs)
		plan.Statuses, plan.Peers = observe(&in, known, plan.Specs, now)
		plan.Rotation, plan.Unprepared, plan.Wake = rotate(&in, known, plan.Specs, plan.Statuses, now)
		announceKeys(&plan, &in, known, now)
		plan.Routes = routes(&in, plan.Specs, plan.Statuses)
		plan.Routed = routed(plan.Routes, plan.Held)
		plan.ReturnByTunnel = returnByTunnel(&in.Config, plan.Routes)
		plan.Waiting = waiting(&in.Config, plan.Specs, plan.Statuses)
		var wake time.Time
		plan.Endpoints, wake = harvest(&in, known, plan.Specs, plan.Statuses, now)
		plan.WakeAt(wake)
		for _, a := range known.others {
			plan.Known = append(plan.Known, *a)
		}
		plan.WakeAt(plan.relaying(&in, known, now))
		reportRelays(&in, &plan, now, &cs)
		reportNoEndpoint(&plan.Local, plan.Specs, plan.Statuses, &cs)
		plan.WakeAt(reportUnanswered(&in, known, plan.Specs, plan.Statuses, now, &cs))
		for i := range plan.Statuses {
			plan.WakeAt(plan.Statuses[i].wake(now))
		}
	}
	plan.Pins = known.remember()
	plan.Conditions = cs.sorted()
	return plan
}

// meshing reports whether this node takes part in the mesh: KubeSpan is enabled,
// and the node has its key and address.
func (in *Input) meshing() bool {
	return in.Config.Enabled && !in.Self.PublicKey.IsZero() && in.Self.Address.IsValid()
}

// others returns the affiliates without this node's own entry, sorted by node id.
func others(in *Input) []*Affiliate {
	out := make([]*Affiliate, 0, len(in.Affiliates))
	for i := range in.Affiliates {
		if a := &in.Affiliates[i]; a.NodeID != in.Self.NodeID {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b *Affiliate) int { return strings.Compare(a.NodeID, b.NodeID) })
	return out
}

// aggregate sorts disjoint prefixes and merges pairs that are the halves of a
// larger one, until the list is minimal. It works in place.
func aggregate(prefixes []netip.Prefix) []netip.Prefix {
	if len(prefixes) == 0 {
		return nil
	}
	sort.Slice(prefixes, func(i, j int) bool { return compareDisjoint(prefixes[i], prefixes[j]) < 0 })
	out := prefixes[:0]
	for _, p := range prefixes {
		for n := len(out); n > 0 && p.Bits() > 0 && out[n-1].Bits() == p.Bits(); n-- {
			parent := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
			if !parent.Contains(out[n-1].Addr()) {
				break
			}
			out, p = out[:n-1], parent
		}
		out = append(out, p)
	}
	return out
}

// compareDisjoint orders masked prefixes of which none contains another: IPv4
// first, by address. It is several times as fast as Prefix.Compare.
func compareDisjoint(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }

// waiting lists the peers that are up and do not say that they have the mesh's next secret.
func waiting(cfg *Config, specs []PeerSpec, statuses []PeerStatus) (out []string) {
	if cfg.Charter.Next.IsZero() {
		return nil
	}
	for i := range specs {
		signs := specs[i].sequence != 0 // else it can't say what it has
		if statuses[i].State == PeerStateUp && signs && specs[i].secretNumber < cfg.Charter.SecretNumber {
			out = append(out, cmp.Or(specs[i].Label, specs[i].NodeID))
		}
	}
	slices.Sort(out)
	return out
}
