package mesh

import (
	"cmp"
	"slices"
	"sort"
)

// nameOwners settles who may be called by a nodename: this node by its own,
// else whoever was seen first by that name; of those seen together, the lower
// node id. Talos
// shows the higher node id; here a newcomer can't take a name over, since rules
// may be about it.
func nameOwners(local *Affiliate, others []*Affiliate, pins []Pin, cs *conditions) map[string]*Affiliate {
	owners := make(map[string]*Affiliate, len(others)+1)
	// before reports whether a was seen under the name earlier than b. One beyond
	// the bound on pins is the latest.
	before := func(a, b *Affiliate) bool {
		p, q := pinOf(pins, a.NodeID), pinOf(pins, b.NodeID)
		return p != nil && (q == nil || p.NamedSince.Before(q.NamedSince))
	}
	if local.Nodename != "" {
		owners[local.Nodename] = local
	}
	for _, a := range others {
		owner := owners[a.Nodename]
		switch {
		case a.Nodename == "":
		case owner == nil:
			owners[a.Nodename] = a
		case owner != local && before(a, owner):
			owners[a.Nodename] = a
			reportName(owner, a, cs)
		default:
			reportName(a, owner, cs)
		}
	}
	return owners
}

// reportName gives both nodes that have one name a condition.
func reportName(loser, owner *Affiliate, cs *conditions) {
	const rename = "rename one of them"
	cs.add(ConditionDuplicateNodename, owner.Nodename,
		"nodes %s and %s are both named %q; the former was seen first and keeps it; "+rename, owner.NodeID, loser.NodeID, owner.Nodename)
	cs.add(ConditionDuplicateNodename, loser.NodeID,
		"node %s is named %q like node %s, which was seen first; it goes by its node id; "+rename, loser.NodeID, loser.Nodename, owner.NodeID)
}

// name is the nodename of a, if it is this node's. Rules go by it.
func (a *Affiliate) name(owners map[string]*Affiliate) string {
	if owners[a.Nodename] != a {
		return ""
	}
	return a.Nodename
}

// label is what people see of a. A node chooses its id itself, so that this is no
// name to go by.
func (a *Affiliate) label(owners map[string]*Affiliate) string {
	if a.Nodename == "" {
		return ""
	}
	return cmp.Or(a.name(owners), a.NodeID)
}

// members lists every affiliate that has its nodename, this node included.
func members(owners map[string]*Affiliate) []Member {
	var out []Member
	for _, a := range owners {
		out = append(out, Member{
			NodeID:           a.NodeID,
			Nodename:         a.Nodename,
			Hostname:         a.Hostname,
			Addresses:        slices.Clone(a.Addresses),
			MachineType:      a.MachineType,
			OperatingSystem:  a.OperatingSystem,
			ControlPlanePort: a.ControlPlanePort,
		})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Nodename < out[j].Nodename })
	return out
}
