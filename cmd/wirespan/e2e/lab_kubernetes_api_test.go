package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// kubeAnswer is an answer of the API.
type kubeAnswer struct {
	status   int
	body     []byte
	warnings []string
}

// is returns an error unless the answer has one of the states and no warning.
func (a kubeAnswer) is(states ...int) error {
	if !slices.Contains(states, a.status) || len(a.warnings) > 0 {
		return fmt.Errorf("status %d, warnings %q: %s", a.status, a.warnings, a.body)
	}
	return nil
}

// call sends a request with a token. The body is YAML or JSON.
func (k *kubernetes) call(token, method, path, contentType string, body []byte) (kubeAnswer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+k.address+":6443"+path, bytes.NewReader(body))
	if err != nil {
		return kubeAnswer{}, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := k.client.Do(request)
	if err != nil {
		return kubeAnswer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return kubeAnswer{response.StatusCode, data, response.Header.Values("Warning")}, err
}

// ask is call with JSON for a request that must succeed without a warning. It decodes the
// answer.
func (k *kubernetes) ask(token, method, path string, object, answer any) {
	k.Helper()
	var body []byte
	if object != nil {
		var err error
		if body, err = json.Marshal(object); err != nil {
			k.Fatal(err)
		}
	}
	contentType := "application/json"
	if method == http.MethodPatch {
		contentType = "application/strategic-merge-patch+json"
	}
	a, err := k.call(token, method, path, contentType, body)
	if err == nil {
		err = a.is(http.StatusOK, http.StatusCreated)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(a.body, answer)
	}
	if err != nil {
		k.Fatalf("%s %s: %v", method, path, err)
	}
}

// object is a Kubernetes object or a part of one.
type object = map[string]any

// addMachine makes the Node of a machine as its kubelet does.
func (k *kubernetes) addMachine(name, address string) {
	k.Helper()
	token := "kubelet-" + name
	k.ask(token, http.MethodPost, "/api/v1/nodes", object{
		"apiVersion": "v1", "kind": "Node",
		"metadata": object{"name": name, "labels": object{"kubernetes.io/hostname": name}},
	}, nil)
	k.ask(token, http.MethodPatch, "/api/v1/nodes/"+name+"/status", object{"status": object{
		"addresses": []object{{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}},
		"nodeInfo":  object{"osImage": "Debian GNU/Linux 13 (trixie)"},
	}}, nil)
}

// account returns a token of the agents' service account, bound to a Node or Pod, or to
// nothing.
func (k *kubernetes) account(kind, name string) string {
	k.Helper()
	spec := object{"expirationSeconds": 3600}
	if kind != "" {
		spec["boundObjectRef"] = object{"apiVersion": "v1", "kind": kind, "name": name}
	}
	var answer struct{ Status struct{ Token string } }
	k.ask(adminToken, http.MethodPost, "/api/v1/namespaces/wirespan/serviceaccounts/wirespan/token",
		object{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}, &answer)
	return answer.Status.Token
}

// kubeconfig returns a configuration for a client with a token.
func (k *kubernetes) kubeconfig(token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://%s:6443", certificate-authority-data: %s}}]
users: [{name: lab, user: {token: %s}}]
contexts: [{name: lab, context: {cluster: lab, user: lab}}]
current-context: lab
`, k.address, base64.StdEncoding.EncodeToString(k.pem), token)
}

// manifest is a YAML document of deploy/kubernetes, and where the API has it.
type manifest struct {
	file, path string
	yaml       []byte
}

// manifests reads files of deploy/kubernetes. The kind of a document is at its second line,
// its name and namespace are the first in it.
func (l *lab) manifests(files ...string) (all []manifest) {
	l.Helper()
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join("../../../deploy/kubernetes", file))
		if err != nil {
			l.Fatal(err)
		}
		for document := range strings.SplitSeq(string(data), "\n---\n") {
			field := func(name string) string {
				_, rest, _ := strings.Cut(document, name+": ")
				value, _, _ := strings.Cut(rest, "\n")
				return value
			}
			namespace := "default"
			if strings.Contains(document, "\n  namespace: ") {
				namespace = field("\n  namespace")
			}
			collection, ok := map[string]string{
				"Namespace":                        "/api/v1/namespaces",
				"ServiceAccount":                   "/api/v1/namespaces/" + namespace + "/serviceaccounts",
				"Service":                          "/api/v1/namespaces/" + namespace + "/services",
				"Secret":                           "/api/v1/namespaces/" + namespace + "/secrets",
				"DaemonSet":                        "/apis/apps/v1/namespaces/" + namespace + "/daemonsets",
				"Deployment":                       "/apis/apps/v1/namespaces/" + namespace + "/deployments",
				"ClusterRole":                      "/apis/rbac.authorization.k8s.io/v1/clusterroles",
				"ClusterRoleBinding":               "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
				"ValidatingAdmissionPolicy":        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
				"ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
			}[field("\nkind")]
			if !ok {
				l.Fatalf("%s: unknown kind %q", file, field("\nkind"))
			}
			all = append(all, manifest{file, collection + "/" + field("\n  name"), []byte(document)})
		}
	}
	return all
}

// apply sends a manifest as kubectl apply --server-side does.
func (k *kubernetes) apply(m manifest, query string) error {
	a, err := k.call(adminToken, http.MethodPatch, m.path+"?fieldManager=test&fieldValidation=Strict"+query,
		"application/apply-patch+yaml", m.yaml)
	if err == nil {
		err = a.is(http.StatusOK, http.StatusCreated)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", m.file, m.path, err)
	}
	return nil
}

// addPod makes a pod of an agent, as a DaemonSet does for a machine.
func (k *kubernetes) addPod(name, machine string) {
	k.Helper()
	k.ask(adminToken, http.MethodPost, "/api/v1/namespaces/wirespan/pods", object{
		"metadata": object{"name": name},
		"spec": object{
			"nodeName": machine, "serviceAccountName": "wirespan",
			"containers": []object{{"name": "wirespan", "image": "wirespan"}},
		},
	}, nil)
}
