package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// kubeMesh is a mesh whose nodes find each other by the API alone.
type kubeMesh struct {
	*kubernetes
	cluster   string
	documents string
}

// kubeMesh starts the API with access.yaml applied, and a Node for each of the hosts.
func (l *lab) kubeMesh(programs string, machines ...*labHost) *kubeMesh {
	l.Helper()
	names := make([]string, len(machines))
	for i, h := range machines {
		names[i] = h.name
	}
	m := &kubeMesh{kubernetes: l.host("api").kubernetes(programs, names...), cluster: "kubernetes"}
	m.documents = string(config.EncodeCluster(m.cluster, mesh.NewSecret(random32()), nil))
	for _, manifest := range l.manifests("access.yaml") {
		if err := m.apply(manifest, ""); err != nil {
			l.Fatal(err)
		}
	}
	for _, h := range machines {
		m.addMachine(h.name, h.address)
	}
	return m
}

// agent prepares an agent on a host, which reads and writes Nodes with a token.
func (m *kubeMesh) agent(h *labHost, token string) *labNode {
	m.Helper()
	n := h.node("")
	n.write(n.path("kubeconfig"), m.kubeconfig(token))
	n.configure(m.documents + kubernetesSettings("kubeconfig: "+n.path("kubeconfig")))
	return n
}

func kubernetesSettings(flow string) string {
	return "---\napiVersion: v1alpha1\nkind: WirespanConfig\nkubernetes: {" + flow + "}\n"
}

// podAgent prepares an agent without privileges that finds the API as in a pod.
func (m *kubeMesh) podAgent(h *labHost) *labNode {
	m.Helper()
	m.addPod("agent-"+h.name, h.name)
	n := h.node(m.documents + kubernetesSettings("enabled: true")).unprivileged()
	files := filepath.Join(h.dir, h.name+"-account")
	if err := errors.Join(
		os.Mkdir(files, 0o755),
		os.WriteFile(filepath.Join(files, "token"), []byte(m.account("Pod", "agent-"+h.name)), 0o644),
		os.WriteFile(filepath.Join(files, "ca.crt"), m.pem, 0o644),
		os.WriteFile(filepath.Join(files, "namespace"), []byte("wirespan"), 0o644),
	); err != nil {
		m.Fatal(err)
	}
	// ip netns exec has made a mount namespace for the agent.
	const mount = `mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount &&
mount --bind "$0" /run/secrets/kubernetes.io/serviceaccount && exec "$@"`
	n.as = append([]string{
		"env", "KUBERNETES_SERVICE_HOST=" + m.address, "KUBERNETES_SERVICE_PORT=6443", "sh", "-c", mount, files,
	}, n.as...)
	return n
}

// annotations returns the annotations of a Node.
func (k *kubernetes) annotations(name string) map[string]string {
	k.Helper()
	var node struct {
		Metadata struct{ Annotations map[string]string }
	}
	k.ask(adminToken, http.MethodGet, "/api/v1/nodes/"+name, nil, &node)
	return node.Metadata.Annotations
}

// kubernetesMesh checks three nodes with tokens of three kinds: bound to a Node, of a pod, and
// that of a kubelet. Nothing but the API tells them of each other.
func kubernetesMesh(l *lab, programs string) {
	ha, hb, hc := l.host("a"), l.host("b"), l.host("c")
	m := l.kubeMesh(programs, ha, hb, hc)
	a, b, c := m.agent(ha, m.account("Node", "a")), m.podAgent(hb), m.agent(hc, "kubelet-c")
	for _, n := range []*labNode{a, b, c} {
		n.up()
	}
	l.allUp(a, b)
	eventually(l.T, within, func() error { return c.failsAt(`list`, "is not granted to this identity", "system:node:c") })
	for _, manifest := range l.manifests("kubelets.yaml") {
		if err := m.apply(manifest, ""); err != nil {
			l.Fatal(err)
		}
	}
	l.Logf("all up after %s", l.allUp(a, b, c).Round(time.Millisecond))
	if backend := b.mustStatus().Backend; backend != "netstack" {
		l.Errorf("the backend of b is %s", backend)
	}
	a.pings(b)
	a.pings(c)
	if out := b.mustCLI("ping", "-c", "2", "-i", "100ms", "a"); !strings.Contains(out, "2 sent, 2 received") {
		l.Errorf("wirespan ping: %s", out)
	}
	for _, n := range []*labNode{a, b, c} {
		m.announces(n)
		n.calm()
	}

	flow := a.keepsPinging(b)
	m.ask(adminToken, http.MethodDelete, "/api/v1/nodes/c", nil, nil)
	for _, n := range []*labNode{a, b} {
		l.Logf("%s lacks c after %s", n.name, eventually(l.T, within, func() error { return n.lacks("c") }))
	}
	m.addMachine("c", hc.address)
	l.Logf("c is back after %s", l.allUp(a, b, c).Round(time.Millisecond))
	flow.stop()

	c.mustCLI("down")
	c.proc.wait(l.T)
	for _, n := range []*labNode{a, b} {
		eventually(l.T, within, func() error { return n.lacks("c") })
	}
	if left := m.annotations("c"); len(left) != 2 || left["wirespan.dev/affiliate"] == "" || left["cluster.talos.dev/node-id"] == "" {
		l.Errorf("annotations of a Node whose agent has left, which says that: %v", left)
	}
}

// failsAt returns an error unless the node says what fails at the API, with all of the words.
func (n *labNode) failsAt(words ...string) error {
	s, err := n.status()
	if err != nil {
		return errors.Join(err, n.proc.running())
	}
	if len(s.Discovery) != 1 {
		return fmt.Errorf("sources of %s: %+v", n.name, s.Discovery)
	}
	for _, w := range words {
		if !strings.Contains(s.Discovery[0].Error, w) {
			return fmt.Errorf("%s: %+v, want an error with %q", n.name, s.Discovery[0], words)
		}
	}
	return nil
}

// kubernetesRefused checks what agents say that the API refuses, each for a reason of its own.
func kubernetesRefused(l *lab, programs string) {
	ha, hb, hc, hd := l.host("a"), l.host("b"), l.host("c"), l.host("d")
	m := l.kubeMesh(programs, ha, hb, hc)
	node := m.account("Node", "a")
	m.effective(node, "b")
	unbound, foreign := m.agent(ha, m.account("", "")), m.agent(hb, node)
	unknown, nameless := m.agent(hc, "made-up"), m.agent(hd, node)
	for _, n := range []*labNode{unbound, foreign, unknown, nameless} {
		n.up()
	}
	unbound.condition("DiscoveryData", "an admission policy refuses it", "its token is for no machine")
	foreign.condition("DiscoveryData", "an admission policy refuses it", "its token is for a, the Node is b")
	nameless.condition("DiscoveryData", "there is no such Node", "kubernetes.nodename")
	eventually(l.T, within, func() error {
		return unknown.failsAt("the credentials are not accepted (401)", unknown.path("kubeconfig"))
	})
	for _, name := range []string{"a", "b", "c"} {
		if written := m.annotations(name); len(written) > 0 {
			l.Errorf("annotations of %s: %v", name, written)
		}
	}
}

// announces checks the annotations of a node.
func (m *kubeMesh) announces(n *labNode) {
	m.Helper()
	eventually(m.T, within, func() error {
		got, own := m.annotations(n.name), n.mustStatus().Node
		for key, want := range map[string]string{
			"cluster.talos.dev/node-id":                own.ID,
			"networking.talos.dev/kubespan-ip":         own.Address.String(),
			"networking.talos.dev/kubespan-public-key": own.PublicKey.String(),
		} {
			if got[key] != want {
				return fmt.Errorf("annotations of %s: %s is %q, want %q", n.name, key, got[key], want)
			}
		}
		if !strings.Contains(got["networking.talos.dev/kubespan-endpoints"], n.address+":") || got["wirespan.dev/affiliate"] == "" {
			return fmt.Errorf("annotations of %s: %v", n.name, got)
		}
		return nil
	})
}

// kubernetesExpiry checks that nodes follow the API after what they had seen last is forgotten.
func kubernetesExpiry(l *lab, programs string) {
	ha, hb, hc := l.host("a"), l.host("b"), l.host("c")
	m := l.kubeMesh(programs, ha, hb, hc)
	a, b, c := m.agent(ha, m.account("Node", "a")), m.agent(hb, m.account("Node", "b")), m.agent(hc, m.account("Node", "c"))
	a.up()
	b.up()
	l.allUp(a, b)
	before := m.revision()
	flow := a.keepsPinging(b)

	// A restart alone ends the watches.
	m.stop()
	m.start()
	m.addMember(1)
	for _, n := range []*labNode{a, b} {
		eventually(l.T, time.Minute, func() error { return n.knows(member(1)) })
	}

	// Meanwhile the API comes back without the past, and a does not see it.
	a.nft(`table inet cut {
	chain in { type filter hook input priority 0; tcp sport 6443 drop; }
	chain out { type filter hook output priority 0; tcp dport 6443 reject with tcp reset; }
}`)
	c.up()
	eventually(l.T, time.Minute, func() error { return b.sees("c") })
	m.ask(adminToken, http.MethodDelete, "/api/v1/nodes/"+member(1), nil, nil)
	m.addMember(2)
	m.stop()
	m.compact()
	m.start()
	m.expired(before)
	if err := errors.Join(a.knows(member(1)), a.lacks("c")); err != nil {
		l.Errorf("without a connection: %v", err)
	}
	a.mustExec("nft", "delete", "table", "inet", "cut")
	l.Logf("all up after %s", l.allUp(a, b, c).Round(time.Millisecond))
	for _, n := range []*labNode{a, b, c} {
		eventually(l.T, time.Minute, func() error { return errors.Join(n.lacks(member(1)), n.knows(member(2))) })
	}
	flow.stop()

	// An agent that starts without the API finds it later.
	b.proc.end(l.T, syscall.SIGKILL)
	m.stop()
	b.up()
	eventually(l.T, within, func() error { _, err := b.status(); return err })
	m.start()
	l.allUp(a, b, c)
}

// knows returns an error unless the node has the peer, up or not.
func (n *labNode) knows(name string) error {
	_, err := n.peer(name)
	return err
}

// revision returns the revision of the list of Nodes.
func (k *kubernetes) revision() string {
	k.Helper()
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	k.ask(adminToken, http.MethodGet, "/api/v1/nodes", nil, &list)
	return list.Metadata.ResourceVersion
}

// expired checks that nobody can continue a watch from a revision.
func (k *kubernetes) expired(revision string) {
	k.Helper()
	a, err := k.call(adminToken, http.MethodGet, "/api/v1/nodes?watch=true&timeoutSeconds=1&resourceVersion="+revision, "", nil)
	var event struct {
		Object struct{ Code int }
	}
	if err == nil {
		err = json.Unmarshal(a.body, &event)
	}
	if err != nil || a.status != http.StatusGone && event.Object.Code != http.StatusGone {
		k.Fatalf("a watch from revision %s: status %d, %v: %s", revision, a.status, err, a.body)
	}
}
