package agent

import (
	"cmp"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// wireGuardOverhead is the size of the headers around a tunnel packet on an IPv6
// underlay, in bytes: IPv6 40, UDP 8, WireGuard 32.
const wireGuardOverhead = 80

// Source is a registry to use.
type Source struct {
	Kind   discovery.Kind
	Name   string      // unique; for status and logs
	Spec   any         // what NewRegistry makes it of; a changed Spec makes a new registry
	Secret mesh.Secret // of the cluster there
	Former bool        // the mesh changes to another secret: nodes that are not known yet are not taken from here
}

// Effective is the effective configuration: what files, environment and flags
// say, with the cluster of the state directory where they name none.
type Effective struct {
	*config.Config
	Sources []Source
	Own     bool // wirespan founded the cluster: all its nodes sign their records
	Charter mesh.Charter
	// STUN are the servers that tell this node its mapped addresses, host:port. AnswerSTUN
	// says whether the node's own port is such a server.
	STUN       []string
	AnswerSTUN bool
	Notes      []mesh.Condition // of the node that the agent is part of
}

// mesh returns what decisions depend on, with an MTU that fits this host if none
// is configured.
func (e *Effective) mesh(links []mesh.Link) mesh.Config {
	m := e.Mesh()
	m.OwnMesh, m.Charter, m.MTU = e.Own, e.Charter, e.mtu(links)
	return m
}

// mtu returns the tunnel's MTU.
func (e *Effective) mtu(links []mesh.Link) int {
	if e.KubeSpan.MTU != 0 {
		return e.KubeSpan.MTU
	}
	return tunnelMTU(links)
}

// tunnelMTU returns min(1420, underlay − 80), but at least IPv6's minimum. The
// underlay is the smallest link that holds a default route or, where there is
// none, the smallest that is up.
func tunnelMTU(links []mesh.Link) int {
	routed, any := 0, 0
	for i := range links {
		l := &links[i]
		if !l.Up || l.Loopback || l.MTU == 0 || l.Kind == "tun" || l.Kind == "wireguard" {
			continue
		}
		any = min(cmp.Or(any, l.MTU), l.MTU)
		if l.DefaultRoute {
			routed = min(cmp.Or(routed, l.MTU), l.MTU)
		}
	}
	underlay := cmp.Or(routed, any, mesh.DefaultMTU+wireGuardOverhead)
	return max(mesh.MinimumMTU, min(mesh.DefaultMTU, underlay-wireGuardOverhead))
}
