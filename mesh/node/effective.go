package node

import (
	"errors"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// service describes how to connect to a discovery service: one server, at one or more
// addresses.
type service struct {
	Endpoints []string // host:port
	Insecure  bool     // plaintext
	Pin       [32]byte // SHA-256 of the server's SubjectPublicKeyInfo; zero: system roots
	Name      string   // of the cluster there; empty: its id
}

// effective combines a configuration with this node's cluster and embedded server.
func (n *Node) effective(c *config.Config) (*agent.Effective, error) {
	var own service
	if n.server != nil {
		own = n.server.service()
	}
	return effective(c, n.cluster, own)
}

// effective combines the configuration with the cluster of the state directory, which
// is used only if the configuration names none. own is the embedded discovery server of
// a founder.
func effective(c *config.Config, cluster *state.Cluster, own service) (*agent.Effective, error) {
	e := &agent.Effective{Config: c}
	known := "" // as what the cluster is known at every service
	if c.Standalone() && cluster != nil {
		known = mesh.DiscoveryID(cluster.ID, cluster.Secret)
	}
	add := func(name string, s service) {
		s.Name = known
		e.Sources = append(e.Sources, agent.Source{Name: name, Spec: s})
	}
	for _, s := range c.Services {
		add(s.Name, service{Endpoints: []string{s.Endpoint}, Insecure: s.Insecure})
	}
	if !c.Standalone() {
		return e, nil
	}
	if cluster == nil {
		return nil, errors.New("no cluster: the configuration names none, and this node has neither founded nor joined one")
	}
	joined := *c // the caller's stays as it was loaded
	joined.ClusterID, joined.ClusterSecret = cluster.ID, cluster.Secret
	e.Config, e.Own = &joined, true
	if cluster.Founder {
		add("embedded", own)
	} else {
		add("joined", service{Endpoints: cluster.Servers, Pin: cluster.Pin})
	}
	return e, nil
}
