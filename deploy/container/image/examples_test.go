package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/wirespan/wirespan/mesh/config"
)

// agentName is the name of the container with the agent in all examples.
const agentName = "wirespan"

// manifests reads a file of deploy/kubernetes. A field that its type does not have, or that
// is there twice, is an error.
func manifests(t *testing.T, path string) (objects []any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		object, ok := map[string]any{
			"v1 Namespace":       &corev1.Namespace{},
			"v1 Secret":          &corev1.Secret{},
			"v1 Service":         &corev1.Service{},
			"v1 ServiceAccount":  &corev1.ServiceAccount{},
			"apps/v1 Deployment": &appsv1.Deployment{},
			"apps/v1 DaemonSet":  &appsv1.DaemonSet{},
			"rbac.authorization.k8s.io/v1 ClusterRole":                         &rbacv1.ClusterRole{},
			"rbac.authorization.k8s.io/v1 ClusterRoleBinding":                  &rbacv1.ClusterRoleBinding{},
			"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy":        &admissionv1.ValidatingAdmissionPolicy{},
			"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding": &admissionv1.ValidatingAdmissionPolicyBinding{},
		}[kind.APIVersion+" "+kind.Kind]
		if !ok {
			t.Fatalf("%s: unknown kind %s %s", path, kind.APIVersion, kind.Kind)
		}
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			t.Fatalf("%s: %s: %v", path, kind.Kind, err)
		}
		objects = append(objects, object)
	}
}

func TestKubernetes(t *testing.T) {
	paths, err := filepath.Glob("../../kubernetes/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d manifests, %v", len(paths), err)
	}
	secrets := map[string]*corev1.Secret{}
	for _, o := range manifests(t, "../../kubernetes/secret.yaml") {
		s := o.(*corev1.Secret)
		secrets[s.Namespace+"/"+s.Name] = s
	}
	for _, path := range paths {
		for _, object := range manifests(t, path) {
			var pod corev1.PodTemplateSpec
			var selector map[string]string
			var namespace string
			switch o := object.(type) {
			case *appsv1.Deployment:
				pod, selector, namespace = o.Spec.Template, o.Spec.Selector.MatchLabels, o.Namespace
			case *appsv1.DaemonSet:
				pod, selector, namespace = o.Spec.Template, o.Spec.Selector.MatchLabels, o.Namespace
			default:
				continue
			}
			t.Run(filepath.Base(path), func(t *testing.T) {
				for label, value := range selector {
					if pod.Labels[label] != value {
						t.Errorf("the pod has no label %s=%s", label, value)
					}
				}
				checkPod(t, pod.Spec, func(name string) *corev1.Secret { return secrets[namespace+"/"+name] })
			})
		}
	}
}

// checkPod checks what a schema does not: that names lead somewhere, and that the agent can
// run as the pod has it.
func checkPod(t *testing.T, pod corev1.PodSpec, secret func(name string) *corev1.Secret) {
	t.Helper()
	readable := int32(0o400)
	if pod.SecurityContext != nil { // with fsGroup
		readable = 0o440
	}
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
		if v.Secret == nil {
			continue
		}
		if secret(v.Secret.SecretName) == nil {
			t.Errorf("volume %s: no Secret %s", v.Name, v.Secret.SecretName)
		}
		if m := v.Secret.DefaultMode; m == nil || *m != readable {
			t.Errorf("volume %s: mode %v, want %#o", v.Name, m, readable)
		}
	}
	var agent *corev1.Container
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if c.Name == agentName {
			agent = &c
		}
	}
	if agent == nil {
		t.Fatal("no container " + agentName)
	}
	mounts := map[string]string{} // name of a volume by path
	for _, m := range agent.VolumeMounts {
		if _, ok := volumes[m.Name]; !ok {
			t.Errorf("no volume %s", m.Name)
		}
		mounts[m.MountPath] = m.Name
	}
	if len(pod.InitContainers) > 0 && (agent.RestartPolicy == nil || *agent.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
		t.Error("the sidecar would have to end before the application starts")
	}
	values := map[string]string{}
	for _, e := range agent.Env {
		values[e.Name] = e.Value
		if e.ValueFrom != nil {
			values[e.Name] = "example"
		}
	}
	checkSettings(t, values)
	named := []string{values["WIRESPAN_CONFIG"]}
	if token, ok := strings.CutPrefix(values["WIRESPAN_JOIN"], "@"); ok {
		named[0] = token
	}
	if password := values["WIRESPAN_PROXY_PASSWORD_FILE"]; password != "" {
		named = append(named, password)
	}
	for _, file := range named {
		if s := volumes[mounts[filepath.Dir(file)]].Secret; s == nil || secret(s.SecretName).StringData[filepath.Base(file)] == "" {
			t.Errorf("no Secret has %q", file)
		}
	}
	// An emptyDir belongs to root, and all may write to it: the agent wants directories of its own.
	for _, dir := range []string{"/run/wirespan", stateOf(values)} {
		if v := volumes[mounts[dir]]; v.EmptyDir != nil {
			t.Errorf("the agent refuses an emptyDir as %s", dir)
		} else if v.HostPath == nil && volumes[mounts[filepath.Dir(dir)]].EmptyDir == nil {
			t.Errorf("nothing to write to at %s", dir)
		}
	}
	if agent.SecurityContext.ReadOnlyRootFilesystem == nil || !*agent.SecurityContext.ReadOnlyRootFilesystem {
		t.Error("the root of the file system is not read-only")
	}
	for _, probe := range []*corev1.Probe{agent.StartupProbe, agent.ReadinessProbe, agent.LivenessProbe} {
		switch {
		case probe == nil:
			t.Error("a probe is missing")
		case probe.Exec != nil && probe.Exec.Command[0] != binaryPath:
			t.Errorf("probe %q", probe.Exec.Command)
		case probe.HTTPGet != nil && values["WIRESPAN_HEALTH_LISTEN"] != probe.HTTPGet.Host+":"+probe.HTTPGet.Port.String():
			t.Errorf("probe %+v", probe.HTTPGet)
		}
	}
}

// stateOf returns the state directory: that of the image unless variables say otherwise.
func stateOf(values map[string]string) string {
	if dir := values["WIRESPAN_STATE_DIR"]; dir != "" {
		return dir
	}
	return stateDir
}

// checkSettings checks the variables of an agent as the agent does.
func checkSettings(t *testing.T, values map[string]string) {
	t.Helper()
	settings := slices.Collect(config.Settings())
	byKey := map[string]string{}
	for name, value := range values {
		i := slices.IndexFunc(settings, func(s *config.Setting) bool { return s.Env() == name })
		if i >= 0 {
			byKey[settings[i].Key] = value
		} else if name != "WIRESPAN_JOIN" && name != "WIRESPAN_CONFIG" {
			t.Errorf("%s is no setting", name)
		}
	}
	if _, err := config.New(byKey); err != nil {
		t.Error(err)
	}
}

// Variables that the pages name are those of the agent.
func TestPages(t *testing.T) {
	known := map[string]bool{"WIRESPAN_JOIN": true, "WIRESPAN_CONFIG": true}
	for s := range config.Settings() {
		known[s.Env()] = true
	}
	for path, least := range map[string]int{"../../../docs/containers.md": 20, "../../kubernetes/README.md": 1} {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, name := range regexp.MustCompile(`WIRESPAN_[A-Z_]+`).FindAllString(string(page), -1) {
			if found[name] = true; !known[name] {
				t.Errorf("%s: no variable %s", path, name)
			}
		}
		if len(found) < least {
			t.Errorf("%s: %d variables, at least %d were expected", path, len(found), least)
		}
	}
}

// The level "restricted" of Kubernetes' Pod Security Standards admits what needs no privileges.
func TestRestricted(t *testing.T) {
	sidecar := manifests(t, "../../kubernetes/sidecar.yaml")[0].(*appsv1.Deployment)
	checkRestricted(t, sidecar.Spec.Template.Spec)
	netstack := manifests(t, "../../kubernetes/daemonset-netstack.yaml")[0].(*appsv1.DaemonSet)
	checkRestricted(t, netstack.Spec.Template.Spec)
}

func checkRestricted(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	if p := pod.SecurityContext; !*p.RunAsNonRoot || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *p.FSGroup != uid {
		t.Errorf("pod: %+v", p)
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("container %s: %+v", c.Name, s)
		}
	}
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			t.Errorf("volume %s is a path of the host", v.Name)
		}
	}
}

func TestCompose(t *testing.T) {
	for _, path := range []string{"../compose.yaml", "../compose.tun.yaml"} {
		o, err := cli.NewProjectOptions([]string{path}, cli.WithName("example"))
		if err != nil {
			t.Fatal(err)
		}
		project, err := o.LoadProject(t.Context()) // checks the schema and all references
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		agent, app := project.Services[agentName], project.Services["app"]
		if !agent.ReadOnly || !slices.Equal(agent.CapDrop, []string{"ALL"}) || app.NetworkMode != "service:"+agentName {
			t.Errorf("%s: %+v", path, project.Services)
		}
		values := map[string]string{}
		for name, value := range agent.Environment {
			values[name] = *value
		}
		checkSettings(t, values)
		if i := slices.IndexFunc(agent.Secrets, func(s types.ServiceSecretConfig) bool { return "@/run/secrets/"+s.Source == values["WIRESPAN_JOIN"] }); i < 0 {
			t.Errorf("%s: no token at %q", path, values["WIRESPAN_JOIN"])
		}
		if len(agent.Volumes) != 1 || agent.Volumes[0].Target != stateOf(values) {
			t.Errorf("%s: volumes %+v, state in %s", path, agent.Volumes, stateOf(values))
		}
	}
}
