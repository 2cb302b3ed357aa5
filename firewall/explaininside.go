package firewall

import (
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// explainDialled explains a connection that the agent makes for a program of this host.
func (p Policy) explainDialled(q Query, v *Explanation) {
	to, known := owner(q.Peers, q.Destination)
	switch {
	case slices.Contains(q.Own, q.Destination):
		v.Path = PathLocal
		v.because("netstack", "%v is an address of this node", q.Destination)
	case known:
		v.Path, v.Peer, v.Prefix = PathTunnel, to.Peer, to.Prefix
		v.because("netstack", "programs reach it by the agent's control socket; the kernel of this host knows no way into the mesh")
		v.because("peers", "%s has %v", mesh.QuoteName(to.Peer), to.Prefix)
	default:
		v.Path = PathBypass
		v.because("peers", "no peer has %v: the agent connects to none but peers", q.Destination)
		v.because("netstack", "programs of this host reach it by the host's own routes")
	}
}
