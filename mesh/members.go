package mesh

import (
	"cmp"
	"slices"
	"sort"
)

// nameOwners finds the owner of each nodename: this node for its own, else the node that
// has it by its pin, which keeps it even while it is not there; of strangers, the lower
// node id. Talos prefers the higher node id; here a new node can't take over a name,
// because rules may depend on it.
func (r *roster) nameOwners(cs *conditions) {
	r.names = make(map[string]*Affiliate, len(r.others)+1)
	absent := map[string]*Pin{} // owners that are not there
	for _, p := range r.order {
		switch a := r.byID[p.NodeID]; {
		case p.Nodename == "" || p.NodeID == r.local.NodeID:
		case a != nil && a.Nodename != p.Nodename:
			p.Nodename = "" // it has another one now
		case r.names[p.Nodename] != nil || absent[p.Nodename] != nil:
			p.Nodename = ""
		case a == nil:
			absent[p.Nodename] = p
		default:
			r.names[p.Nodename] = a
		}
	}
	if name := r.local.Nodename; name != "" && !r.yielded {
		r.names[name] = r.local
	}
	for _, a := range r.others {
		switch owner, p := r.names[a.Nodename], absent[a.Nodename]; {
		case a.Nodename == "" || owner == a:
		case owner != nil:
			r.reportName(a, owner.NodeID, cs)
		case p != nil:
			r.reportName(a, p.NodeID, cs)
		default:
			r.names[a.Nodename] = a
		}
		if p := r.pins[a.NodeID]; r.names[a.Nodename] == a {
			p.Nodename = a.Nodename
		}
	}
	if owner := r.names[r.local.Nodename]; r.yielded && owner != nil {
		r.reportName(r.local, owner.NodeID, cs)
	}
}

// reportName adds a condition for a node whose name another node has.
func (r *roster) reportName(a *Affiliate, owner string, cs *conditions) {
	run := "run"
	if a == r.local {
		run = "run on the others"
	}
	cs.add(ConditionDuplicateNodename, a.Nodename,
		"node %s is named %q like node %s, which keeps the name; it goes by its node id; if it is the same box, installed anew, %s: wirespan accept %s; else rename one of them",
		a.NodeID, a.Nodename, owner, run, shellWord(a.NodeID))
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
