package node

import (
	"errors"
	"fmt"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// peersFile is the path of a file with static peers.
type peersFile string

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
	present := n.membership.present()
	e, err := effective(c, present, own)
	if err == nil && e.Own {
		e.Charter, e.Notes = n.membership.charter(present)
	}
	if err == nil {
		services := discoveryServers(e)
		n.services.Store(&services)
		e.STUN = stunServers(e.Config, services, own)
		e.AnswerSTUN = n.answersSTUN(c)
		withKubernetes(e)
		if c.KubeSpan.Enabled && len(e.Sources) == 0 {
			return nil, errors.New("KubeSpan requires cluster discovery to be enabled: configure a discovery service, kubernetes.kubeconfig or a peersFile")
		}
		err = checkNames(e.Sources)
	}
	return e, err
}

// checkNames returns an error if two sources have one name: status and logs could not tell
// them apart, and only the first would be used. Services are named by the user.
func checkNames(sources []agent.Source) error {
	seen := map[string]bool{}
	for _, s := range sources {
		if seen[s.Name] {
			return fmt.Errorf("DiscoveryServiceConfig/%s: this node has another source of that name: rename the service", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// effective combines the configuration with the cluster of the state directory, which
// is used only if the configuration names none. own is the embedded discovery server of
// a founder.
func effective(c *config.Config, cluster *state.Cluster, own service) (*agent.Effective, error) {
	e := &agent.Effective{Config: c}
	add := func(s agent.Source) { e.Sources = append(e.Sources, s) }
	if c.PeersFile != "" {
		add(agent.Source{Kind: discovery.KindStatic, Name: string(discovery.KindStatic), Spec: peersFile(c.PeersFile)})
	}
	var services []named
	for _, s := range c.Services {
		services = append(services, named{s.Name, service{Endpoints: []string{s.Endpoint}, Insecure: s.Insecure}})
	}
	if !c.Standalone() {
		for _, s := range services {
			add(agent.Source{Kind: discovery.KindService, Name: s.name, Spec: s.service, Secret: c.ClusterSecret})
		}
		return e, nil
	}
	if cluster == nil {
		return nil, errors.New("no cluster: the configuration names none, and this node has neither founded nor joined one")
	}
	joined := *c // the caller's stays as it was loaded
	joined.ClusterID, joined.ClusterSecret = cluster.ID, cluster.Secret
	e.Config, e.Own = &joined, true
	server := named{"joined", service{Endpoints: cluster.Servers, Pin: cluster.Pin}}
	if cluster.Founder {
		server = named{"embedded", own}
	}
	for _, s := range append(services, server) {
		former := ""
		if !cluster.Next.IsZero() {
			add(s.with(cluster.ID, cluster.Next, ""))
			former = formerSecret
		}
		add(s.with(cluster.ID, cluster.Secret, former))
	}
	return e, nil
}

// named is a service with its name in status and logs.
type named struct {
	name string
	service
}

// formerSecret is what the name of a source ends with while the mesh changes to another
// secret.
const formerSecret = " (former secret)"

// with returns the source that the service is for an own mesh with one of its secrets.
func (s named) with(clusterID string, secret mesh.Secret, suffix string) agent.Source {
	s.Name = mesh.DiscoveryID(clusterID, secret)
	return agent.Source{Kind: discovery.KindService, Name: s.name + suffix, Spec: s.service, Secret: secret, Former: suffix != ""}
}
