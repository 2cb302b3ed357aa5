package node

import (
	"fmt"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery"
	client "github.com/wirespan/wirespan/discovery/service"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/state"
)

// newRegistry creates the registry of a source. Its sockets have the mark of encrypted
// packets, so that their packets never enter the tunnel.
func (n *Node) newRegistry(s agent.Source, e *agent.Effective, keys state.Keys) (agent.Registry, error) {
	if n.cfg.Machine.NewRegistry != nil {
		return n.cfg.Machine.NewRegistry(s, e, keys)
	}
	spec, ok := s.Spec.(service)
	if !ok {
		return nil, fmt.Errorf("source %s: no registry is known for %T", s.Name, s.Spec)
	}
	return client.New(client.Config{
		Name: s.Name, Endpoints: spec.Endpoints, Insecure: spec.Insecure, Pin: spec.Pin,
		ClusterID: e.ClusterID, DiscoveryID: spec.Name, AffiliateID: keys.NodeID, NodeKey: keys.NodeKey, Secret: s.Secret,
		TTL: discovery.MaxTTL, ClientVersion: n.cfg.Version,
		Control: bind.Control(e.Firewall.EncryptedMark), Log: n.log.Named("discovery"),
	})
}
