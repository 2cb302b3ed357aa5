package agent

import (
	"cmp"
	"fmt"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// wireGuardOverhead is what a tunnel packet grows by on an IPv6 underlay, in
// bytes: IPv6 40, UDP 8, WireGuard 32.
const wireGuardOverhead = 80

// Service is a discovery service to use: one server, at one or more addresses.
type Service struct {
	Name      string
	Endpoints []string // host:port
	Insecure  bool     // plaintext
	Pin       [32]byte // SHA-256 of the server's SubjectPublicKeyInfo; zero: system roots
}

// Settings is the effective configuration: what the files say, and the cluster
// of the state directory where they name none.
type Settings struct {
	*config.Config
	Discovery []Service
}

// Effective joins the files' configuration with a cluster from the state
// directory, which counts only if the files hold none. own is the embedded
// discovery server, for a founder.
func Effective(c *config.Config, cluster *state.Cluster, own Service) (*Settings, error) {
	s := &Settings{Config: c}
	for _, svc := range c.Services {
		s.Discovery = append(s.Discovery, Service{Name: svc.Name, Endpoints: []string{svc.Endpoint}, Insecure: svc.Insecure})
	}
	if !c.Standalone() {
		return s, nil
	}
	if cluster == nil {
		return nil, fmt.Errorf("no cluster: the configuration names none, and this node has neither founded nor joined one")
	}
	c.ClusterID, c.ClusterSecret = cluster.ID, cluster.Secret
	if cluster.Founder {
		s.Discovery = append(s.Discovery, own)
	} else {
		s.Discovery = append(s.Discovery, Service{Name: "joined", Endpoints: cluster.Servers, Pin: cluster.Pin})
	}
	return s, nil
}

// mesh is the part that decisions depend on, with the MTU that fits this host
// if none is configured.
func (s *Settings) mesh(links []mesh.Link) mesh.Config {
	m := s.Mesh()
	if s.KubeSpan.MTU == 0 {
		m.MTU = tunnelMTU(links)
	}
	return m
}

// tunnelMTU is min(1420, underlay − 80), and never below IPv6's minimum. The
// underlay is the smallest link that holds a default route or, where there is
// none, the smallest that is up.
func tunnelMTU(links []mesh.Link) int {
	routed, any := 0, 0
	for _, l := range links {
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
