package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// kubernetesManifests checks that the API takes all of deploy/kubernetes, without a warning, and
// what is admitted at the level "restricted".
func kubernetesManifests(l *lab, programs string) {
	paths, err := filepath.Glob("../../../deploy/kubernetes/*.yaml")
	if err != nil || len(paths) < 2 {
		l.Fatalf("%d manifests, %v", len(paths), err)
	}
	k := l.host("api").kubernetes(programs)
	for _, m := range l.manifests("access.yaml") { // the namespace is for others
		if err := k.apply(m, ""); err != nil {
			l.Error(err)
		}
	}
	for _, path := range paths {
		for _, m := range l.manifests(filepath.Base(path)) {
			if err := errors.Join(k.apply(m, "&dryRun=All"), k.apply(m, "")); err != nil {
				l.Error(err)
			}
		}
	}
	for _, namespace := range []string{"wirespan", "default"} {
		k.ask(adminToken, http.MethodPatch, "/api/v1/namespaces/"+namespace, object{"metadata": object{"labels": object{
			"pod-security.kubernetes.io/warn": "restricted",
		}}}, nil)
	}
	for _, m := range l.manifests("daemonset.yaml", "sidecar-tun.yaml") {
		eventually(l.T, within, func() error { // the API takes note of the level in its own time
			if err := k.apply(m, "&dryRun=All"); err == nil || !strings.Contains(err.Error(), "would violate PodSecurity") {
				return fmt.Errorf("%s: at the level restricted: %w", m.file, err)
			}
			return nil
		})
	}
	for _, m := range l.manifests("daemonset-netstack.yaml", "sidecar.yaml") {
		if err := k.apply(m, "&dryRun=All"); err != nil {
			l.Errorf("at the level restricted: %v", err)
		}
	}
}

// access is what a token may not do, or may.
type access struct {
	what         string
	token        string
	method, path string
	body         any
	refused      string // part of the message; empty: it is allowed
}

// kubernetesAccess checks what deploy/kubernetes/access.yaml allows to agents.
func kubernetesAccess(l *lab, programs string) {
	k := l.host("api").kubernetes(programs, "m1", "m2")
	for _, m := range l.manifests("access.yaml") {
		if err := k.apply(m, ""); err != nil {
			l.Fatal(err)
		}
	}
	k.addMachine("m1", "10.90.0.11")
	k.addMachine("m2", "10.90.0.12")
	k.ask(adminToken, http.MethodPatch, "/api/v1/nodes/m1", object{"metadata": object{"annotations": object{
		"example.org/a": "1", "networking.talos.dev/api-server-port": "6443",
	}}}, nil)
	k.addPod("agent", "m1")
	pod, node, unbound := k.account("Pod", "agent"), k.account("Node", "m1"), k.account("", "")
	own := object{"metadata": object{"annotations": object{
		"cluster.talos.dev/node-id": "a", "networking.talos.dev/kubespan-ip": "fd00::1", "wirespan.dev/affiliate": "c2VhbGVk",
	}}}
	annotation := func(key string, value any) object {
		return object{"metadata": object{"annotations": object{key: value}}}
	}
	k.effective(pod, "m2")
	const m1, m2 = "/api/v1/nodes/m1", "/api/v1/nodes/m2"
	const rbac = "is forbidden: User \"system:serviceaccount:wirespan:wirespan\" cannot "
	const only = "an agent may change nothing of a Node but annotations"
	for _, c := range []access{
		{"list", pod, http.MethodGet, "/api/v1/nodes", nil, ""},
		{"watch", pod, http.MethodGet, "/api/v1/nodes?watch=true&timeoutSeconds=1", nil, ""},
		{"get its own", pod, http.MethodGet, m1, nil, ""},
		{"get another", pod, http.MethodGet, m2, nil, ""},
		{"set annotations", pod, http.MethodPatch, m1, own, ""},
		{"set nothing", pod, http.MethodPatch, m1, own, ""},
		{"set one with a token for the Node", node, http.MethodPatch, m1, annotation("networking.talos.dev/self-ips", "10.90.0.11"), ""},
		{"remove one", pod, http.MethodPatch, m1, annotation("networking.talos.dev/self-ips", nil), ""},
		{"remove that of a control plane", pod, http.MethodPatch, m1, annotation("networking.talos.dev/api-server-port", nil), ""},

		{"another node", pod, http.MethodPatch, m2, own, "the Node of its own machine only: its token is for m1, the Node is m2"},
		{"another node with a token for a Node", node, http.MethodPatch, m2, own, "its token is for m1, the Node is m2"},
		{"without a machine", unbound, http.MethodPatch, m1, own, "its token is for no machine (use that of a pod, or one bound to the Node), the Node is m1"},
		{"set what a control plane announces", pod, http.MethodPatch, m1, annotation("networking.talos.dev/api-server-port", "6443"), "may not set these annotations: networking.talos.dev/api-server-port"},
		{"set a foreign annotation", pod, http.MethodPatch, m1, annotation("example.org/b", "1"), "may not set these annotations: example.org/b"},
		{"change a foreign annotation", pod, http.MethodPatch, m1, annotation("example.org/a", "2"), "may not set these annotations: example.org/a"},
		{"remove a foreign annotation", pod, http.MethodPatch, m1, annotation("example.org/a", nil), "may not remove these annotations: example.org/a"},
		{"label", pod, http.MethodPatch, m1, object{"metadata": object{"labels": object{"a": "b"}}}, only},
		{"role", pod, http.MethodPatch, m1, object{"metadata": object{"labels": object{"node-role.kubernetes.io/control-plane": ""}}}, only},
		{"finalizer", pod, http.MethodPatch, m1, object{"metadata": object{"finalizers": []string{"example.org/f"}}}, only},
		{"owner", pod, http.MethodPatch, m1, object{"metadata": object{"ownerReferences": []object{{"apiVersion": "v1", "kind": "Pod", "name": "agent", "uid": "1"}}}}, only},
		{"taint", pod, http.MethodPatch, m1, object{"spec": object{"taints": []object{{"key": "a", "effect": "NoSchedule"}}}}, only},
		{"cordon", pod, http.MethodPatch, m1, object{"spec": object{"unschedulable": true}}, only},
		{"pod network", pod, http.MethodPatch, m1, object{"spec": object{"podCIDR": "10.1.0.0/24", "podCIDRs": []string{"10.1.0.0/24"}}}, only},
		{"status", pod, http.MethodPatch, m1 + "/status", object{"status": object{"phase": "Running"}}, rbac + "patch resource \"nodes/status\""},
		{"delete", pod, http.MethodDelete, m1, nil, rbac + "delete"},
		{"create", pod, http.MethodPost, "/api/v1/nodes", object{"metadata": object{"name": "m3"}}, rbac + "create"},
		{"proxy", pod, http.MethodGet, m1 + "/proxy/pods", nil, rbac + "get resource \"nodes/proxy\""},
		{"secrets", pod, http.MethodGet, "/api/v1/namespaces/wirespan/secrets", nil, rbac + "list"},
		{"pods", pod, http.MethodGet, "/api/v1/namespaces/wirespan/pods", nil, rbac + "list"},
		{"create a pod", pod, http.MethodPost, "/api/v1/namespaces/wirespan/pods", object{"metadata": object{"name": "b"}}, rbac + "create"},
		{"token", pod, http.MethodPost, "/api/v1/namespaces/wirespan/serviceaccounts/wirespan/token", object{"spec": object{}}, rbac + "create"},
		{"policy", pod, http.MethodDelete, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/wirespan", nil, rbac + "delete"},

		// The policy is for agents: the kubelet and others work on.
		{"label of a kubelet", "kubelet-m1", http.MethodPatch, m1, object{"metadata": object{"labels": object{"kubernetes.io/arch": "amd64"}}}, ""},
		{"taint of an administrator", adminToken, http.MethodPatch, m2, object{"spec": object{"taints": []object{{"key": "a", "effect": "NoSchedule"}}}}, ""},
	} {
		if err := k.check(c); err != nil {
			l.Errorf("%s: %s %s: %v", c.what, c.method, c.path, err)
		}
	}
	k.checkKubelets()
	// What RBAC refuses above the policy refuses as well, should someone grant too much.
	k.ask(adminToken, http.MethodPost, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", object{
		"metadata": object{"name": "much"},
		"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []object{{"kind": "ServiceAccount", "name": "wirespan", "namespace": "wirespan"}},
	}, nil)
	for _, c := range []access{
		{"status", pod, http.MethodPatch, m1 + "/status", object{"status": object{"phase": "Running"}}, "an agent may only patch a Node"},
		{"delete", pod, http.MethodDelete, m1, nil, "ValidatingAdmissionPolicy 'wirespan'"},
		{"create", pod, http.MethodPost, "/api/v1/nodes", object{"metadata": object{"name": "m3"}}, "ValidatingAdmissionPolicy 'wirespan'"},
		{"proxy", pod, http.MethodPost, m1 + "/proxy/run/a/b/c", nil, "ValidatingAdmissionPolicy 'wirespan'"},
	} {
		eventually(l.T, within, func() error { // RBAC takes a moment to see the binding
			if err := k.check(c); err != nil {
				return fmt.Errorf("%s with all rights: %s %s: %w", c.what, c.method, c.path, err)
			}
			return nil
		})
	}
	var after struct {
		Metadata struct{ Annotations map[string]string }
	}
	k.ask(adminToken, http.MethodGet, m1, nil, &after)
	if a := after.Metadata.Annotations; a["wirespan.dev/affiliate"] != "c2VhbGVk" || a["example.org/a"] != "1" || len(a) != 4 {
		l.Errorf("annotations after all: %v", a)
	}
}

// checkKubelets checks what kubelets.yaml adds to the rights of kubelets.
func (k *kubernetes) checkKubelets() {
	k.Helper()
	const kubelet, nodes = "kubelet-m1", "/api/v1/nodes"
	annotate := object{"metadata": object{"annotations": object{"wirespan.dev/affiliate": "c2VhbGVk"}}}
	if err := k.check(access{"list", kubelet, http.MethodGet, nodes, nil, "is forbidden"}); err != nil {
		k.Errorf("a kubelet without kubelets.yaml: %v", err)
	}
	for _, m := range k.manifests("kubelets.yaml") {
		if err := k.apply(m, ""); err != nil {
			k.Fatal(err)
		}
	}
	eventually(k.T, within, func() error { return k.check(access{"list", kubelet, http.MethodGet, nodes, nil, ""}) })
	for _, c := range []access{
		{"watch", kubelet, http.MethodGet, nodes + "?watch=true&timeoutSeconds=1", nil, ""},
		{"own", kubelet, http.MethodPatch, nodes + "/m1", annotate, ""},
		{"another", kubelet, http.MethodPatch, nodes + "/m2", annotate, "node \"m1\" is not allowed to modify node \"m2\""},
		{"delete", kubelet, http.MethodDelete, nodes + "/m2", nil, "is forbidden"},
	} {
		if err := k.check(c); err != nil {
			k.Errorf("kubelet: %s: %v", c.what, err)
		}
	}
}

// effective waits until the policy is in effect: the API server takes note of it in its own time.
// The agent is not that of the machine.
func (k *kubernetes) effective(agent, machine string) {
	k.Helper()
	eventually(k.T, time.Minute, func() error {
		return k.check(access{
			"probe", agent, http.MethodPatch, "/api/v1/nodes/" + machine + "?dryRun=All",
			object{"metadata": object{"labels": object{"probe": ""}}},
			"ValidatingAdmissionPolicy 'wirespan'",
		})
	})
}

// check returns an error unless the API allows or refuses the request, as it should.
func (k *kubernetes) check(c access) error {
	var body []byte
	contentType := ""
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return err
		}
		contentType = "application/json"
		if c.method == http.MethodPatch {
			contentType = "application/merge-patch+json"
		}
	}
	a, err := k.call(c.token, c.method, c.path, contentType, body)
	if err != nil {
		return err
	}
	var status struct{ Message string }
	_ = json.Unmarshal(a.body, &status) // no message if it is none
	switch {
	case c.refused == "":
		return a.is(http.StatusOK, http.StatusCreated)
	case a.status != http.StatusForbidden || !strings.Contains(status.Message, c.refused):
		return fmt.Errorf("status %d, want a refusal with %q: %s", a.status, c.refused, a.body)
	}
	return nil
}
