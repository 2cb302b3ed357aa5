package node

import (
	"fmt"
	"net/netip"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery"
	client "github.com/wirespan/wirespan/discovery/service"
	"github.com/wirespan/wirespan/discovery/static"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// newRegistry creates the registry of a source. Its sockets have the mark of encrypted
// packets, so that their packets never enter the tunnel.
func (n *Node) newRegistry(s agent.Source, e *agent.Effective, keys state.Keys) (agent.Registry, error) {
	if path, ok := s.Spec.(peersFile); ok {
		return static.New(static.Config{
			Path: string(path), MaxSize: config.MaxPeersFile, Self: keys.NodeID,
			Parse: func(path string, data []byte) ([]mesh.Affiliate, error) {
				return config.ParsePeers(config.File{Name: path, Data: data}, mesh.ULA(e.ClusterID))
			},
		}), nil
	}
	if n.cfg.Machine.NewRegistry != nil {
		return n.cfg.Machine.NewRegistry(s, e, keys)
	}
	if api, ok := s.Spec.(kubernetesAPI); ok {
		return n.newKubernetes(s, api, e, keys)
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

// anySubnet has the addresses of all meshes.
var anySubnet = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd}), 8)

// CheckPeersFile reads the peers file of a configuration, if it has one. Whether addresses
// are in the mesh is not checked if the configuration names none.
func CheckPeersFile(c *config.Config) error {
	if c.PeersFile == "" {
		return nil
	}
	subnet := anySubnet
	if c.ClusterID != "" {
		subnet = mesh.ULA(c.ClusterID)
	}
	data, err := static.Read(c.PeersFile, config.MaxPeersFile)
	if err == nil {
		_, err = config.ParsePeers(config.File{Name: c.PeersFile, Data: data}, subnet)
	}
	if err != nil {
		return fmt.Errorf("peersFile: %w", err)
	}
	return nil
}
