//go:build edge || nokubernetes

package node

import (
	"errors"

	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// This file takes the place of kubernetes_full.go where the Kubernetes registry is left out.

var errNoKubernetes = errors.New("this is the edge build or one without Kubernetes (tag nokubernetes), which can't discover nodes by Kubernetes: remove kubernetes.enabled and kubernetes.kubeconfig, or install the full build")

// inPod returns false: Talos' documents alone do not ask for what this build lacks.
func inPod() bool { return false }

// checkKubernetes returns an error if this build lacks what is configured.
func checkKubernetes(c *config.Config) error {
	if c.UsesKubernetes(false) {
		return errNoKubernetes
	}
	return nil
}

// CheckKubeconfig returns an error if c asks for what this build lacks.
func CheckKubeconfig(c *config.Config) error { return checkKubernetes(c) }

func (n *Node) newKubernetes(agent.Source, kubernetesAPI, *agent.Effective, state.Keys) (agent.Registry, error) {
	return nil, errNoKubernetes
}
