package agent

import (
	"fmt"
	"net/netip"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

type routeSpec struct {
	Prefix    netip.Prefix   `json:"prefix"`
	Peer      string         `json:"peer"`
	PublicKey mesh.Key       `json:"publicKey"`
	State     mesh.PeerState `json:"state"`
	Path      mesh.Path      `json:"path"`
}

type conflictSpec struct {
	Type    mesh.ConditionType `json:"type"`
	Subject string             `json:"subject"`
	Message string             `json:"message"`
}

type ruleSpec struct {
	Chain string `json:"chain"`
	Rule  string `json:"rule"`
}

// routeEntries are the networks of peers; their mesh addresses are in the specs.
func routeEntries(p mesh.Plan) []entry {
	out := make([]entry, 0, len(p.Routes))
	for _, r := range p.Routes {
		if r.Path != mesh.PathMesh {
			spec, status := &p.Specs[r.Peer], &p.Statuses[r.Peer]
			out = append(out, entry{id: r.Prefix.String(), spec: routeSpec{r.Prefix, spec.Label, spec.PublicKey, status.State, r.Path}})
		}
	}
	return out
}

func conflictEntries(conditions []mesh.Condition) []entry {
	var out []entry
	times := map[string]int{}
	for _, c := range conditions {
		if !c.Type.Conflict() {
			continue
		}
		id := fmt.Sprintf("%s/%s", c.Type, c.Subject)
		if times[id]++; times[id] > 1 {
			id = fmt.Sprintf("%s#%d", id, times[id])
		}
		out = append(out, entry{id: id, spec: conflictSpec(c)})
	}
	return out
}

// ruleEntries are the rules that are in place, in the order in which packets
// meet them.
func ruleEntries(rs firewall.Ruleset) []entry {
	var out []entry
	for _, c := range rs.Chains {
		for i, r := range c.Rules {
			out = append(out, entry{id: fmt.Sprintf("%s/%02d", c.Name, i+1), spec: ruleSpec{c.Name, r.String()}})
		}
	}
	return out
}
