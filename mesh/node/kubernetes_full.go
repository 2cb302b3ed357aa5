//go:build !edge && !nokubernetes

package node

import (
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery/kubernetes"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// inPod reports whether this process has the service account of a pod.
func inPod() bool { return kubernetes.InCluster() }

// checkKubernetes returns an error if this build lacks what is configured.
func checkKubernetes(*config.Config) error { return nil }

// CheckKubeconfig reads the kubeconfig that c names, if any, as an agent would.
func CheckKubeconfig(c *config.Config) error {
	if c.Kubernetes.Kubeconfig == "" || !c.UsesKubernetes(false) {
		return nil
	}
	return kubernetes.CheckKubeconfig(c.Kubernetes.Kubeconfig)
}

// newKubernetes creates the registry of a Kubernetes API.
func (n *Node) newKubernetes(s agent.Source, api kubernetesAPI, e *agent.Effective, keys state.Keys) (agent.Registry, error) {
	return kubernetes.New(kubernetes.Config{
		Name: s.Name, Kubeconfig: api.Kubeconfig, Node: api.Node,
		ClusterID: e.ClusterID, AffiliateID: keys.NodeID, NodeKey: keys.NodeKey, Secret: s.Secret,
		Talos: api.Talos, ReadOnly: api.ReadOnly, Version: n.cfg.Version,
		Control: bind.Control(e.Firewall.EncryptedMark), Log: n.log.Named("discovery"),
	})
}
