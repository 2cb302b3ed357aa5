package config

// Kubernetes says how this node takes part in discovery by the Nodes of Kubernetes.
type Kubernetes struct {
	Enabled    *bool  // nil: see UsesKubernetes
	Kubeconfig string // path; empty: the service account of the pod
	Nodename   string // of the Node of this machine; empty: as the agent finds it
}

// kubernetesSettings are for discovery by the Nodes of Kubernetes.
var kubernetesSettings = []Setting{{
	Key: "kubernetes.enabled", Kind: KindBool, Example: "true",
	Help: "Find other nodes by the annotations of Kubernetes' Nodes, and be found so; by default with a kubeconfig, and in a pod if Talos' machine configuration has this registry on.",
	at:   func(w *Wirespan) target { return scalar(&w.Kubernetes.Enabled, parseOptionalBool) },
}, {
	Key: "kubernetes.kubeconfig", Example: "/etc/wirespan/kubeconfig",
	Help: "File that says where Kubernetes' API is and who this node is there; without one the service account of the pod is used.",
	at:   func(w *Wirespan) target { return scalar(&w.Kubernetes.Kubeconfig, parsePath) },
}, {
	Key: "kubernetes.nodename", Example: "node-1",
	Help: "Name of this machine's Node in Kubernetes; by default the variable NODE_NAME, the setting nodename, or the hostname.",
	at:   func(w *Wirespan) target { return scalar(&w.Kubernetes.Nodename, parseNodename) },
}}

// UsesKubernetes reports whether the Nodes of Kubernetes are a source. Talos' machine
// configuration turns that on unless it says otherwise: without a kubeconfig it counts only
// in a pod that has a service account.
func (c *Config) UsesKubernetes(inPod bool) bool {
	if c.Kubernetes.Enabled != nil {
		return *c.Kubernetes.Enabled
	}
	return c.Kubernetes.Kubeconfig != "" || c.KubernetesRegistry && inPod
}
