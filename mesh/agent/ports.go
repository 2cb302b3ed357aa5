package agent

import (
	"context"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// releaseTimeout bounds the removal of mapped ports.
const releaseTimeout = 4 * time.Second

// wishPorts says which ports the gateway is to map to this node.
func (a *Agent) wishPorts() {
	if a.cfg.Ports == nil {
		return
	}
	w := mesh.PortWish{Moves: a.host.moves, Pending: len(a.config.STUN) > 0}
	switch {
	case a.config.PortMapping == config.PortMappingNever:
		w.Refused = "the setting portMapping is never"
	case a.plane.device == nil:
		w.Refused = "the mesh is off"
	default:
		p := mesh.Port{Use: mesh.PortWireGuard, Number: a.plane.device.ListenPort()}
		if announcesIPv4(a.config) {
			p.Refused = "extraAnnouncedEndpoints names a public IPv4 endpoint"
		}
		w.Ports = []mesh.Port{p}
		w.Translation = a.plane.device.Translation()
		for _, ep := range a.plane.device.Mapped() {
			w.Seen = append(w.Seen, ep.Addr())
		}
	}
	a.cfg.Ports.Set(w)
}

// announcesIPv4 reports whether the configuration names where WireGuard's port is reached from
// the internet.
func announcesIPv4(e *Effective) bool {
	for _, ep := range e.KubeSpan.ExtraAnnouncedEndpoints {
		if ip := ep.Addr().Unmap(); ip.Is4() && ip.IsGlobalUnicast() && !ip.IsPrivate() {
			return true
		}
	}
	return false
}

// portMapping returns what the gateway maps to this node.
func (a *Agent) portMapping() mesh.PortMapping {
	if a.cfg.Ports == nil {
		return mesh.PortMapping{Ports: []mesh.MappedPort{}, Reason: "this host has no gateway that could be asked"}
	}
	return a.cfg.Ports.Report()
}

// releasePorts removes the mappings of a node that leaves.
func (a *Agent) releasePorts(ctx context.Context) {
	if a.cfg.Ports == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	a.cfg.Ports.Release(ctx)
}
