package node

import (
	"github.com/wirespan/wirespan/mesh/config"
)

// Hints about configurations that have another effect than one might expect.
const (
	// HostRulesHint is for host firewall rules in Talos documents.
	HostRulesHint = "Talos' NetworkDefaultActionConfig and NetworkRuleConfig do not apply to traffic of the mesh; WirespanConfig's ingress does"
	// KubernetesHint is for Talos documents that turn the Kubernetes registry on, which they do
	// unless they say otherwise.
	KubernetesHint = "the Kubernetes discovery registry of the machine configuration is not used: this is no pod with a service account, and kubernetes.kubeconfig is not set"
	// EnableHint is for a configuration without the mesh.
	EnableHint = "set enabled: true in a KubeSpanConfig document to turn it on"
)

// explain logs the parts of the configuration that are not used.
func (n *Node) explain() {
	if n.config.KubernetesRegistry && !n.config.UsesKubernetes(inPod()) {
		n.log.Info(KubernetesHint)
	}
	if n.config.HostRules {
		n.log.Info(HostRulesHint)
	}
	for _, i := range n.config.Ignored {
		n.log.Info("configuration document is not used by wirespan", "kind", i.Kind, "file", i.File, "line", i.Line)
	}
	n.explainMesh(n.config)
}

// explainMesh logs that the configuration turns the mesh off.
func (n *Node) explainMesh(cfg *config.Config) {
	if !cfg.KubeSpan.Enabled {
		n.log.Info("the mesh is off, this node only takes part in discovery: " + EnableHint)
	}
}
