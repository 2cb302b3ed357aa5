package node

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"slices"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/portmap"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// gateways is a host that knows its gateway.
type gateways interface {
	Gateway() (mesh.Gateway, error)
}

// ports has the gateway map WireGuard's port, for which the agent asks, and the ports of the
// embedded discovery server. It is an agent.Ports.
type ports struct {
	*portmap.Mapper
	node *Node
}

// newPorts returns nil for a host that is not a real one.
func (n *Node) newPorts() *ports {
	h, ok := n.host.(gateways)
	if !ok {
		return nil
	}
	return &ports{portmap.New(portmap.Config{
		Gateway: h.Gateway, Sockets: portmap.Kernel{Control: bind.Control(n.mark)}, Nonce: nonce(n.keys), Log: n.log.Named("portmap"),
	}), n}
}

// nonce returns what a gateway knows this node's mappings by. It is the same after a restart.
func nonce(k state.Keys) (n portmap.Nonce) {
	secret := k.NodeKey.Secret
	if secret.IsZero() { // of a node that can't sign
		secret = k.PrivateKey.Secret
	}
	key := secret.Reveal()
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("wirespan: nonce of port mappings"))
	copy(n[:], mac.Sum(nil))
	return n
}

// Set implements agent.Ports.
func (p *ports) Set(w mesh.PortWish) {
	if s := p.node.server; s != nil && w.Refused == "" {
		w.Ports = append(slices.Clone(w.Ports), s.ports(p.node.config)...)
	}
	p.Mapper.Set(w)
}

// probeGateway finds out what the gateway offers to a host without an agent, where STUN
// servers see it.
func probeGateway(ctx context.Context, h gateways, mark uint32, setting string, translation mesh.Translation) mesh.PortMapping {
	w := mesh.PortWish{Ports: []mesh.Port{{Use: mesh.PortWireGuard}}, Translation: translation}
	if setting == config.PortMappingNever {
		w.Refused = "the setting portMapping is never"
	}
	return portmap.Probe(ctx, portmap.Config{Gateway: h.Gateway, Sockets: portmap.Kernel{Control: bind.Control(mark)}}, w)
}

// translation says whether the servers' answers show a NAT, for IPv4.
func translation(c *mesh.NATCheck) mesh.Translation {
	for _, f := range c.Families {
		switch {
		case f.Family != "ipv4" || len(f.Mapped) == 0:
		case f.Mapping == mesh.BehaviourNone:
			return mesh.TranslationNone
		default:
			return mesh.TranslationPresent
		}
	}
	return mesh.TranslationUnknown
}
