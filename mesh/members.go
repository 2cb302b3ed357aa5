package mesh

import (
	"cmp"
	"slices"
	"sort"
)

// nameOwners returns the owner of each nodename: this node for its own, else the
// node that was seen with it first; of nodes seen at the same time, the lower node
// id. Talos prefers the higher node id; here a new node can't take over a name,
// because rules may depend on it.
func nameOwners(local *Affiliate, others []*Affiliate, pins []Pin, cs *conditions) map[string]*Affiliate {
	owners := make(map[string]*Affiliate, len(others)+1)
	// before reports whether a was seen with the name earlier than b. A node without
	// a pin, for which there was no room, is the latest.
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

// reportName adds a condition for each of two nodes with the same name.
func reportName(loser, owner *Affiliate, cs *conditions) {
	const rename = "rename one of them"
	cs.add(ConditionDuplicateNodename, owner.Nodename,
		"nodes %s and %s are both named %q; the former was seen first and keeps it; "+rename, owner.NodeID, loser.NodeID, owner.Nodename)
	cs.add(ConditionDuplicateNodename, loser.NodeID,
		"node %s is named %q like node %s, which was seen first; it goes by its node id; "+rename, loser.NodeID, loser.Nodename, owner.NodeID)
}

// name returns the nodename of a if a owns it, else "". Rules use it.
func (a *Affiliate) name(owners map[string]*Affiliate) string {
	if owners[a.Nodename] != a {
		return ""
	}
	return a.Nodename
}

// label returns what people see of a: its name or node id, or "" without a
// nodename. Rules must not use it, since a node chooses its id itself.
func (a *Affiliate) label(owners map[string]*Affiliate) string {
	if a.Nodename == "" {
		return ""
	}
	return cmp.Or(a.name(owners), a.NodeID)
}

// members lists the affiliates that own a nodename, this node included.
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
