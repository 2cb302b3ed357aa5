package mesh

import (
	"strings"
	"time"
)

// together is within which time of the start of one node another one counts as started at
// the same time: neither had a name first.
const together = time.Minute

// ownName returns the nodename that this node announces; it may be none. A nodename makes
// it a member, and Talos keeps one member per nodename, so a node that cannot be reached
// has none, and one whose nodename another node has withholds it. In an own mesh it
// announces it, so that others can be told to accept it. This node's own pin says that it
// had the name before: then it announces it, even if it was not the first.
func (r *roster) ownName(in *Input, now time.Time, cs *conditions) string {
	name, had := in.Host.Nodename, ""
	own := r.pins[in.Self.NodeID]
	if own != nil {
		had, own.Nodename, own.Gone = own.Nodename, "", time.Time{}
	}
	has := had == name || !in.Host.DiscoveryPending
	if !in.Config.AnnounceAsMember || name == "" || !in.meshing() || len(r.local.Addresses) == 0 || !has && !in.Config.OwnMesh {
		return ""
	}
	for _, a := range r.others {
		switch {
		case a.Nodename != name:
		case had == name && in.Config.OwnMesh, had == name && !a.isTalos():
			r.yielded = r.yielded || r.hadFirst(a, own)
		case in.Config.OwnMesh:
			r.yielded, has = true, false
		default:
			cs.add(ConditionNodenameWithheld, name,
				"node %s is named %q like this node, which therefore announces no nodename; set nodename to another one here, or rename that node", a.NodeID, name)
			return ""
		}
	}
	if has {
		r.touch(in.Self.NodeID, now).Nodename = name
	}
	return name
}

// hadFirst reports whether another node had this node's name before it. Of two that
// started together, both decide alike: for the lower node id.
func (r *roster) hadFirst(a *Affiliate, own *Pin) bool {
	if r.pins[a.NodeID].FirstSeen.Sub(own.FirstSeen) > together {
		return false
	}
	if start := time.UnixMilli(int64(a.Record.Start)); a.Record.Signed() && own.FirstSeen.Sub(start) > together {
		return true
	}
	return a.NodeID < own.NodeID
}

// isTalos reports whether a says that it is a Talos node. Nodes of this agent never
// announce a control plane.
func (a *Affiliate) isTalos() bool {
	return a.MachineType == MachineControlPlane || a.MachineType == MachineInit || strings.HasPrefix(a.OperatingSystem, "Talos ")
}
