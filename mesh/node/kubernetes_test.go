package node

import (
	"reflect"
	"testing"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
)

func TestWithKubernetes(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	a, b := mesh.NewSecret([mesh.KeySize]byte{1}), mesh.NewSecret([mesh.KeySize]byte{2})
	yes, no := true, false
	for name, test := range map[string]struct {
		config  config.Kubernetes
		before  []agent.Source
		own     bool
		want    []agent.Source
		talosOn bool
	}{
		"nothing configured":  {},
		"on by Talos, no pod": {talosOn: true},
		"off by us":           {config: config.Kubernetes{Enabled: &no, Kubeconfig: "/k"}},
		"alone":               {config: config.Kubernetes{Kubeconfig: "/k", Nodename: "n"}, want: []agent.Source{{Kind: discovery.KindKubernetes, Name: "k8s", Spec: kubernetesAPI{"/k", "n", true, false}, Secret: a}}},
		"beside a service":    {config: config.Kubernetes{Enabled: &yes, Nodename: "n"}, before: []agent.Source{{Name: "s", Secret: b}, {Name: "t", Secret: b}}, want: []agent.Source{{Kind: discovery.KindKubernetes, Name: "k8s", Spec: kubernetesAPI{"", "n", true, false}, Secret: b}}},
		"while a secret changes": {
			config: config.Kubernetes{Enabled: &yes, Nodename: "n"}, own: true, before: []agent.Source{{Name: "s", Secret: b}, {Name: "s (former secret)", Secret: a, Former: true}},
			want: []agent.Source{{Kind: discovery.KindKubernetes, Name: "k8s", Spec: kubernetesAPI{"", "n", false, false}, Secret: b}, {Kind: discovery.KindKubernetes, Name: "k8s (former secret)", Spec: kubernetesAPI{"", "n", false, true}, Secret: a, Former: true}},
		},
	} {
		c := &config.Config{ClusterSecret: a, KubernetesRegistry: test.talosOn}
		c.Kubernetes = test.config
		e := &agent.Effective{Config: c, Own: test.own, Sources: test.before}
		withKubernetes(e)
		if got := e.Sources[len(test.before):]; len(got) != len(test.want) || len(got) > 0 && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: added %+v, want %+v", name, got, test.want)
		}
	}
}

func TestKubernetesNode(t *testing.T) {
	c := &config.Config{}
	c.Hostname = "Host_1.example.org"
	t.Setenv("NODE_NAME", "")
	for _, step := range []struct {
		set  func()
		want string
	}{
		{func() {}, "host-1.example.org"},
		{func() { c.Nodename = "mesh-name" }, "mesh-name"},
		{func() { t.Setenv("NODE_NAME", "downward") }, "downward"},
		{func() { c.Kubernetes.Nodename = "set" }, "set"},
	} {
		if step.set(); kubernetesNode(c) != step.want {
			t.Errorf("node %q, want %q", kubernetesNode(c), step.want)
		}
	}
}
