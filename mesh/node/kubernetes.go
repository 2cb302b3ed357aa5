package node

import (
	"cmp"
	"os"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
)

// kubernetesAPI describes a Kubernetes API, and this machine there.
type kubernetesAPI struct {
	Kubeconfig string // empty: the service account of the pod
	Node       string
	Talos      bool // nodes of Talos are to find this one
	// ReadOnly is set with a former secret: a Node has room for one record, and a registry
	// that wrote it before is to be replaced.
	ReadOnly bool
}

// withKubernetes adds the Nodes of Kubernetes to the sources, for each secret that others
// have.
func withKubernetes(e *agent.Effective) {
	if !e.UsesKubernetes(inPod()) {
		return
	}
	api := kubernetesAPI{Kubeconfig: e.Kubernetes.Kubeconfig, Node: kubernetesNode(e.Config), Talos: !e.Own}
	add := func(secret mesh.Secret, former bool) {
		name, api := string(discovery.KindKubernetes), api
		if former {
			name, api.ReadOnly = name+formerSecret, true
		}
		e.Sources = append(e.Sources, agent.Source{Kind: discovery.KindKubernetes, Name: name, Spec: api, Secret: secret, Former: former})
	}
	before := e.Sources
	added := map[mesh.Secret]bool{}
	for _, s := range before {
		if !s.Secret.IsZero() && !added[s.Secret] {
			added[s.Secret] = true
			add(s.Secret, s.Former)
		}
	}
	if len(added) == 0 {
		add(e.ClusterSecret, false)
	}
}

// kubernetesNode returns the name of this machine's Node: as configured, by the downward API,
// as the node is called in the mesh, or as the kubelet makes it of the hostname.
func kubernetesNode(c *config.Config) string {
	if name := cmp.Or(c.Kubernetes.Nodename, os.Getenv("NODE_NAME"), c.Nodename); name != "" {
		return name
	}
	hostname, _ := os.Hostname()
	name, err := mesh.Nodename(cmp.Or(c.Hostname, hostname))
	if err != nil {
		return "" // refused by kubernetes.New, which says what to set
	}
	return name
}
