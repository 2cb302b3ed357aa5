package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/wirespan/wirespan/mesh/agent"
)

// upLimit is the time after the last start within which all peers are up.
const upLimit = 15 * time.Second

// scenarioMesh checks a founder and two nodes that join with its token, all with TUN.
func scenarioMesh(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("")
	token := a.found()
	b.join(token)
	c.join(token)
	took := l.allUp(a, b, c)
	l.Logf("all up %s after the last start", took.Round(time.Millisecond))
	if took > upLimit {
		l.Errorf("all up after %s, more than %s", took, upLimit)
	}
	for _, n := range []*labNode{a, b, c} {
		l.Logf("%s uses %d KiB after start", n.name, n.proc.resident(l.T))
		n.mustCLI("wait", "all", "--timeout", "10s")
	}

	a.pings(b)
	b.pings(c)
	c.pings(a)
	out := a.mustCLI("ping", "-c", "2", "-i", "100ms", "b")
	if !strings.Contains(out, "2 sent, 2 received") {
		l.Errorf("wirespan ping: %s", out)
	}
	before := counters(a)
	b.downloads(a.web(), b.dial)
	a.downloads(b.web(), a.dial)
	eventually(l.T, 35*time.Second, func() error { // the agent reads the counters at its next tick
		now := counters(a)[b.key()]
		if was := before[b.key()]; now.ReceiveBytes < was.ReceiveBytes+downloadSize || now.TransmitBytes < was.TransmitBytes+downloadSize {
			return fmt.Errorf("rx %d→%d, tx %d→%d after a download each way", was.ReceiveBytes, now.ReceiveBytes, was.TransmitBytes, now.TransmitBytes)
		}
		return nil
	})
	checkTables(a, b, c)
	checkYAML(a, b)
	checkWG(a, b, c)
}

// key returns the node's public key.
func (n *labNode) key() string { n.Helper(); return n.mustStatus().Node.PublicKey.String() }

func counters(n *labNode) map[string]agent.PeerStatusSpec {
	n.Helper()
	statuses, err := resources[agent.PeerStatusSpec](n, "kubespanpeerstatuses")
	if err != nil {
		n.Fatal(err)
	}
	return statuses
}

// checkTables checks the tables of n, which Talos users know.
func checkTables(n *labNode, peers ...*labNode) {
	n.Helper()
	for resource, columns := range map[string]string{
		"kubespanpeerspecs":    "ID VERSION LABEL ENDPOINTS",
		"KubeSpanPeerStatuses": "ID VERSION LABEL ENDPOINT STATE RX TX",
		"kubespanendpoints":    "ID VERSION ENDPOINT AFFILIATE ID",
	} {
		lines := strings.Split(n.mustCLI("get", resource), "\n")
		if header := strings.Join(strings.Fields(lines[0]), " "); header != columns {
			n.Errorf("get %s: columns %q, want %q", resource, header, columns)
		}
	}
	out := n.mustCLI("get", "kubespanpeerstatuses")
	for _, p := range peers {
		row := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(p.key()) + ` +\d+ +` + p.name + ` +(10\.90\.0\.\d+|\[fd90::\d+\]):51820 +up +[1-9]\d* +[1-9]\d*$`)
		if !row.MatchString(out) {
			n.Errorf("get kubespanpeerstatuses: no good row of %s, keyed by %s:\n%s", p.name, p.key(), out)
		}
	}
}

// checkYAML checks that a resource has KubeSpan's form.
func checkYAML(n, peer *labNode) {
	n.Helper()
	var doc struct {
		Metadata map[string]any `yaml:"metadata"`
		Spec     map[string]any `yaml:"spec"`
	}
	out := n.mustCLI("get", "kubespanpeerstatus", peer.key(), "-o", "yaml")
	if err := yaml.Unmarshal([]byte(out), &doc); err != nil {
		n.Fatalf("%v:\n%s", err, out)
	}
	for _, key := range []string{"type", "id", "version", "created", "updated"} {
		if doc.Metadata[key] == nil {
			n.Errorf("metadata has no %s:\n%s", key, out)
		}
	}
	for _, key := range []string{
		"endpoint", "label", "state", "receiveBytes", "transmitBytes",
		"lastHandshakeTime", "lastUsedEndpoint", "lastEndpointChange",
	} {
		if doc.Spec[key] == nil {
			n.Errorf("spec has no %s:\n%s", key, out)
		}
	}
	if doc.Metadata["id"] != peer.key() || doc.Spec["label"] != peer.name || doc.Spec["state"] != "up" {
		n.Errorf("unexpected resource:\n%s", out)
	}
}

// checkWG checks what wg(8) shows of n.
func checkWG(n *labNode, peers ...*labNode) {
	n.Helper()
	handshakes := n.mustExec("wg", "show", n.link(), "latest-handshakes")
	for _, p := range peers {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(p.key()) + `\s+[1-9]\d+$`).MatchString(handshakes) {
			n.Errorf("wg show: no handshake with %s:\n%s", p.name, handshakes)
		}
	}
	if out := n.mustExec("wg", "show", n.link()); !strings.Contains(out, "fwmark: 0x20") || !strings.Contains(out, "listening port: 51820") {
		n.Errorf("wg show:\n%s", out)
	}
}

// scenarioStandaloneDiscovery checks nodes that are all configured by the same Talos
// documents, with a separate discovery server.
func scenarioStandaloneDiscovery(l *lab) {
	server := l.host("d").discovery()
	server.start()
	documents := server.newCluster()
	a, b, c := l.host("a").node(documents), l.host("b").node(documents), l.host("c").node(documents)
	for _, n := range []*labNode{a, b, c} {
		n.up()
	}
	took := l.allUp(a, b, c)
	l.Logf("all up %s after the last start", took.Round(time.Millisecond))
	if took > upLimit {
		l.Errorf("all up after %s, more than %s", took, upLimit)
	}
	a.pings(c)
	c.pings(b)
	for _, n := range []*labNode{a, b, c} {
		if out := n.mustCLI("get", "members"); strings.Count(out, "\n") != 4 {
			l.Errorf("members of %s, want three:\n%s", n.name, out)
		}
		if s := n.mustStatus(); len(s.Conditions) != 0 {
			l.Errorf("conditions of %s: %v", n.name, s.Conditions)
		}
	}
}

// scenarioMixedBackends checks a with TUN, and b with a netstack and without any
// privilege.
func scenarioMixedBackends(l *lab) {
	a, b := l.host("a").node(""), l.host("b").node("").unprivileged()
	b.flags = append(b.flags, "--backend", "netstack")
	token := a.found()
	b.start("demo", "node", "--join", b.keep(token))
	took := l.allUp(a, b)
	l.Logf("up %s after the last start", took.Round(time.Millisecond))
	if backends := a.mustStatus().Backend + " " + b.mustStatus().Backend; backends != "tun netstack" {
		l.Fatalf("backends: %s", backends)
	}
	a.pings(b)
	if out := b.mustCLI("ping", "-c", "2", "-i", "100ms", "a"); !strings.Contains(out, "2 sent, 2 received") {
		l.Errorf("wirespan ping: %s", out)
	}
	body, err := fetch(a.dial, "["+b.mustStatus().Node.Address.String()+"]:80")
	if err != nil || !strings.HasPrefix(string(body), "hello from b, you came as ["+a.mustStatus().Node.Address.String()+"]:") {
		l.Errorf("a asks b: %q, %v", body, err)
	}
	b.downloads(a.web(), b.through)
}
