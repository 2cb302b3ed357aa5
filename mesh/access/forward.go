//go:build !edge

package access

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/wirespan/wirespan/device/forward"
	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// conditionForward is the type of conditions about forwards.
const conditionForward mesh.ConditionType = "ForwardUnavailable"

// specs returns the forwards of a configuration as package forward has them.
func specs(lists ...[]config.Forward) (out []forward.Spec) {
	for _, list := range lists {
		for i := range list {
			out = append(out, spec(&list[i]))
		}
	}
	return out
}

func spec(f *config.Forward) forward.Spec {
	s := forward.Spec{
		Name: "-L " + f.String(), Kind: forward.Local, UDP: f.Protocol == firewall.ProtocolUDP,
		Bind: f.Bind, Port: f.Ports.From, Count: int(f.Ports.To) - int(f.Ports.From) + 1, Socket: f.Socket,
		Target: f.Target, TargetPort: f.TargetPorts.From, TargetSocket: f.TargetSocket, Proxy: f.Proxy, Allow: f.Allow,
	}
	if f.Kind == config.ForwardMesh {
		s.Name, s.Kind = "-R "+f.String(), forward.Mesh
	}
	return s
}

// inMesh is the mesh as forwards use it.
type inMesh struct{ *Services }

func (m inMesh) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return m.Network(false).DialContext(ctx, network, address)
}

func (m inMesh) Listen(port uint16) (net.Listener, error) {
	return m.cfg.Plane.ListenTCP(m.at(port))
}

func (m inMesh) ListenPacket(port uint16) (net.PacketConn, error) {
	return m.cfg.Plane.ListenUDP(m.at(port))
}

func (s *Services) namesOf(a netip.Addr) []string {
	_, names := s.cfg.Directory.Peer(a)
	return names
}

// at returns a port of the mesh address.
func (s *Services) at(port uint16) netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return netip.AddrPortFrom(s.mesh.address, port)
}

// forwardConditions tells which forwards do not listen.
func (s *Services) forwardConditions() (list []mesh.Condition) {
	for _, f := range s.forwards.Status() {
		if f.Err != nil {
			list = append(list, mesh.Condition{Type: conditionForward, Subject: f.Name, Message: fmt.Sprint(f.Name, ": ", f.Err)})
		}
	}
	return list
}
