package agent

import (
	"net/netip"

	"github.com/wirespan/wirespan/mesh"
)

// namedFor is what names depend on besides the plan.
type namedFor struct {
	domain  string
	nodeID  string
	address netip.Addr
}

// Names returns the names of the newest decision. They are made once per decision, so that
// asking costs nothing. It may be called by anyone.
func (a *Agent) Names() *mesh.Names { return a.names.Load() }

// nameNodes takes up the names that follow from a plan, which comes after a.previous. Most
// passes change none.
func (a *Agent) nameNodes(p *mesh.Plan) {
	n := namedFor{a.config.DNS.Domain, a.self.NodeID, a.self.Address}
	if a.names.Load() != nil && n == a.named && sameNames(a.previous, p) {
		return
	}
	a.named = n
	a.names.Store(mesh.NewNames(n.domain, a.self, p))
}
