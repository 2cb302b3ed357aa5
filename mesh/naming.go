package mesh

import (
	"strings"
	"time"
)

// ownName returns the nodename that this node announces; it may be none. A nodename makes
// it a member, and Talos keeps one member per nodename, so a node that cannot be reached
// has none, and one whose nodename another node has withholds it. This node's own pin
// says that it had the name before.
func (r *roster) ownName(in *Input, now time.Time, cs *conditions) string {
	name, had := in.Host.Nodename, ""
	if p := r.pins[in.Self.NodeID]; p != nil {
		had, p.Nodename, p.Gone = p.Nodename, "", time.Time{}
	}
	if !in.Config.AnnounceAsMember || name == "" || !in.meshing() || len(r.local.Addresses) == 0 || had != name && in.Host.DiscoveryPending && !in.Config.OwnMesh {
		return ""
	}
	for _, a := range r.others {
		if a.Nodename == name && (had != name || !in.Config.OwnMesh && a.isTalos()) {
			cs.add(ConditionNodenameWithheld, name,
				"node %s is named %q like this node, which therefore announces no nodename; set nodename to another one here, or rename that node", a.NodeID, name)
			return ""
		}
	}
	p := r.touch(in.Self.NodeID, now)
	p.Nodename = name
	return name
}

// isTalos reports whether a says that it is a Talos node. Nodes of this agent never
// announce a control plane.
func (a *Affiliate) isTalos() bool {
	return a.MachineType == MachineControlPlane || a.MachineType == MachineInit || strings.HasPrefix(a.OperatingSystem, "Talos ")
}
