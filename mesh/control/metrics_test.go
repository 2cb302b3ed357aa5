//go:build !edge

package control

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

func serveMetrics(t *testing.T) *controlled {
	t.Helper()
	return serveWith(t, nil, func(a Agent) Metrics { return NewMetrics(a) })
}

func TestControlMetrics(t *testing.T) {
	c := serveMetrics(t)
	p := c.up()
	_, body := request1(t, c.client, "GET", "/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	if len(families) != 7 {
		t.Errorf("%d families in\n%s", len(families), body)
	}
	for _, want := range []string{
		`wirespan_info{backend="tun",version="v0.0.0-test"} 1`,
		`wirespan_peers{state="up"} 1`,
		`wirespan_peers{state="down"} 0`,
		`wirespan_peer_receive_bytes_total{peer="node-2",public_key="` + p.PublicKey.String() + `"} 148`,
		`wirespan_initiations_dropped_total 0`,
		`wirespan_discovery_connected{service="one"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("lacks %s in\n%s", want, body)
		}
	}
}

// A label is one label, whatever a node calls itself, and a scrape never fails by it.
func TestMetricsEscapeNames(t *testing.T) {
	c := serveMetrics(t)
	for hostile, want := range map[string]string{
		"evil\"} 7\nforged_metric{a=\"\\": `peer="evil\"} 7\nforged_metric{a=\"\\"`,
		"a\xffb":                          "peer=\"a\ufffdb\"",
	} {
		p := testPeer()
		p.Nodename = hostile
		c.found().Find(p)
		c.until(func(s *agent.Status) bool { return len(s.Peers) == 1 && s.Peers[0].Label == hostile })
		_, body := request1(t, c.client, "GET", "/metrics")
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(body))
		if err != nil || families["forged_metric"] != nil || !strings.Contains(body, want) {
			t.Errorf("%q: %v in\n%s", hostile, err, body)
		}
	}
}

// relayedAgent is one whose status has relays.
type relayedAgent struct {
	Agent
	status *agent.Status
}

func (a relayedAgent) Status() *agent.Status { return a.status }

func TestMetricsOfRelays(t *testing.T) {
	s := &agent.Status{
		Peers:  []agent.PeerView{{Label: "a", Relay: "box\xff"}, {Label: "b", PublicKey: mesh.Key{1}}},
		Relays: []mesh.RelayView{{Relay: "box\xff", SentBytes: 5, ReceivedBytes: 7}},
	}
	var text strings.Builder
	if err := NewMetrics(relayedAgent{nil, s})(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"wirespan_peer_relayed{peer=\"a\",public_key=\"" + mesh.Key{}.String() + "\",relay=\"box\ufffd\"} 1",
		"wirespan_relay_used_bytes_total{direction=\"up\",relay=\"box\ufffd\"} 5",
		"wirespan_relay_used_bytes_total{direction=\"down\",relay=\"box\ufffd\"} 7",
	} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("lacks %s in\n%s", want, &text)
		}
	}
	if strings.Contains(text.String(), `wirespan_peer_relayed{peer="b"`) {
		t.Error("a direct peer counts as relayed")
	}
}

// Metrics show none of the agent's secrets.
func TestMetricsShowNoSecrets(t *testing.T) {
	c := serveMetrics(t)
	c.up()
	_, body := request1(t, c.client, "GET", "/metrics")
	for _, secret := range []string{testClusterID, c.keys.PrivateKey.RevealBase64(), testSettings(t, "").ClusterSecret.RevealBase64()} {
		if strings.Contains(body, secret) {
			t.Errorf("metrics show a secret:\n%s", body)
		}
	}
}
