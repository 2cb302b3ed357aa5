package node

import (
	"fmt"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery"
	client "github.com/wirespan/wirespan/discovery/service"
	"github.com/wirespan/wirespan/mesh/agent"
)

// newRegistry makes the registry of a source. Its sockets carry the mark of
// encrypted packets, so that they never end up in the tunnel.
func (n *Node) newRegistry(s agent.Source, e *agent.Effective, nodeID string) (agent.Registry, error) {
	if n.cfg.Machine.NewRegistry != nil {
		return n.cfg.Machine.NewRegistry(s, e, nodeID)
	}
	spec, ok := s.Spec.(service)
	if !ok {
		return nil, fmt.Errorf("source %s: %T is no kind of registry", s.Name, s.Spec)
	}
	return client.New(client.Config{
		Name: s.Name, Endpoints: spec.Endpoints, Insecure: spec.Insecure, Pin: spec.Pin,
		ClusterID: e.ClusterID, AffiliateID: nodeID, Secret: e.ClusterSecret,
		TTL: discovery.MaxTTL, ClientVersion: n.cfg.Version,
		Control: bind.Control(e.Firewall.EncryptedMark), Log: n.log.Named("discovery"),
	})
}
