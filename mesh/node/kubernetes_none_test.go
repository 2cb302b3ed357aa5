//go:build edge || nokubernetes

package node

import (
	"errors"
	"testing"

	"github.com/wirespan/wirespan/mesh/config"
)

// Only what asks for it by our own settings is refused: Talos' documents have it on by
// default.
func TestWithoutKubernetes(t *testing.T) {
	c := &config.Config{KubernetesRegistry: true}
	if err := checkBuild(c); err != nil {
		t.Errorf("Talos' default is refused: %v", err)
	}
	c.Kubernetes.Kubeconfig = "/k"
	if err := checkBuild(c); !errors.Is(err, errNoKubernetes) {
		t.Errorf("kubernetes.kubeconfig: error %v", err)
	}
}
