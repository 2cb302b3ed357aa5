package mesh

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// nameOwners settles who may be called by a nodename: this node by its own,
// else whoever was seen first; of those seen together, the lower node id. Talos
// shows the higher node id; here a newcomer can't take a name over, since rules
// may be about it.
func nameOwners(local *Affiliate, others []*Affiliate, pins []Pin, cs *conditions) map[string]*Affiliate {
	owners := make(map[string]*Affiliate, len(others)+1)
	firstSeen := func(a *Affiliate) time.Time {
		i, found := slices.BinarySearchFunc(pins, a.NodeID, func(p Pin, id string) int { return strings.Compare(p.NodeID, id) })
		if !found { // this node, or one beyond the bound on pins
			return time.Time{}
		}
		return pins[i].FirstSeen
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
		case owner != local && firstSeen(a).Before(firstSeen(owner)):
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

// label is what a node is called, which no other node is.
func (a *Affiliate) label(owners map[string]*Affiliate) string {
	if a.Nodename != "" && owners[a.Nodename] != a {
		return a.NodeID
	}
	return a.Nodename
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
