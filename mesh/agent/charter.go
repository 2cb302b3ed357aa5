package agent

import (
	"errors"
	"fmt"
	"slices"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// Conditions of the membership of an own mesh.
const (
	conditionExpelled mesh.ConditionType = "Expelled"
	conditionChanging mesh.ConditionType = "SecretChanging"
)

// MeshView is what a pass of the loop has seen of an own mesh.
type MeshView struct {
	SecretNumber uint64   // of the newest secret that the agent uses
	Statement    string   // newer than the node's, as the authority has signed it; empty: none
	Waiting      []string // peers that are up and do not have the next secret yet
	Unknown      bool     // the founder's record repeats a newer statement that this node can't verify
	Refused      bool     // a discovery server refuses the name that the mesh has by this node's secret
}

// reportMesh tells the node what concerns the members of its mesh.
func (a *Agent) reportMesh(plan *mesh.Plan, affiliates []mesh.Affiliate) {
	if !a.config.Own {
		return
	}
	v := MeshView{SecretNumber: a.config.Charter.SecretNumber, Waiting: plan.Waiting}
	v.Statement, v.Unknown = a.config.Charter.NewestStatement(a.config.ClusterID, affiliates, a.refused)
	for _, r := range a.sources.running {
		if !r.former && errors.Is(r.shown().LastError, discovery.ErrRefused) {
			v.Refused = true
		}
	}
	a.cfg.Mesh(v)
}

// expelled reports whether the mesh's authority has expelled this node.
func (a *Agent) expelled() bool {
	return a.config.Charter.Statement.Expels(a.cfg.Keys.NodeID)
}

// withdrawn reports whether this node must not take part in the mesh. What is routed stays
// routed, so that nothing leaves in the clear.
func (a *Agent) withdrawn() bool { return a.record.withdrawn || a.expelled() }

// onlyPinned leaves of a source what it says of nodes that were seen before.
func (a *Agent) onlyPinned(s *discovery.Source) {
	known := map[string]bool{}
	pins := a.cfg.Memory.Pins(a.self.Subnet)
	for i := range pins {
		known[pins[i].NodeID] = true
	}
	affiliates, heard := s.Affiliates, s.Heard
	s.Affiliates, s.Heard = nil, nil
	for i := range affiliates {
		if !known[affiliates[i].NodeID] {
			continue
		}
		s.Affiliates = append(s.Affiliates, affiliates[i])
		if heard != nil {
			s.Heard = append(s.Heard, heard[i])
		}
	}
}

// charterConditions says what happens to the membership.
func (a *Agent) charterConditions(plan *mesh.Plan) []mesh.Condition {
	out := slices.Clone(a.config.Notes)
	if a.expelled() {
		out = append(out, mesh.Condition{
			Type: conditionExpelled, Subject: a.cfg.Keys.NodeID,
			Message: fmt.Sprintf("this node was expelled from the mesh and has stopped its tunnel; to join a mesh as a new node, run wirespan down, remove %s and %s, and use a new join token", mesh.NodeKeyFile, mesh.NodeIdentityFile),
		})
	}
	if a.config.Charter.Next.IsZero() {
		return out
	}
	left := "all peers that are up have it"
	if len(plan.Waiting) > 0 {
		left = "not yet on " + mesh.Listed(plan.Waiting, 5)
	}
	return append(out, mesh.Condition{Type: conditionChanging, Subject: "secret", Message: "the mesh changes to a new secret; " + left})
}
