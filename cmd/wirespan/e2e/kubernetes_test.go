package e2e

import (
	"os"
	"testing"
)

// kubernetesScenarios lists the subtests of TestKubernetes. Each has an API of its own.
var kubernetesScenarios = []struct {
	name string
	run  func(l *lab, programs string)
}{
	{"Manifests", kubernetesManifests},
	{"Access", kubernetesAccess},
	{"Mesh", kubernetesMesh},
	{"Refused", kubernetesRefused},
	{"Expiry", kubernetesExpiry},
	{"Sources", kubernetesSources},
	{"Crowd", kubernetesCrowd},
}

// TestKubernetes runs agents with a real kube-apiserver. It takes the folder with the programs
// that `make test-kubernetes` builds in WIRESPAN_KUBERNETES. Run one scenario with
// make test-kubernetes KUBERNETES_RUN=TestKubernetes/Access.
func TestKubernetes(t *testing.T) {
	programs := os.Getenv("WIRESPAN_KUBERNETES")
	if programs == "" {
		t.Skip("takes a kube-apiserver: run make test-kubernetes")
	}
	requireTools(t)
	sweep(t)
	binary := buildBinary(t)
	for _, scenario := range kubernetesScenarios {
		t.Run(scenario.name, func(t *testing.T) {
			t.Parallel()
			scenario.run(newLab(t, binary), programs)
		})
	}
}
