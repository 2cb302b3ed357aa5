package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

const ingressDocument = `---
apiVersion: v1alpha1
kind: WirespanConfig
ingress:
  defaultAction: block
  rules:
    - {name: web, portSelector: {ports: [80], protocol: tcp}, peers: [node-8]}
`

// Explain knows paths, peers by name, ingress rules, and where the kernel differs.
func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument, ingressDocument)
		idle, err := New(h.config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := idle.Explain(ExplainQuery{To: netip.MustParseAddr("10.1.0.1")}); err == nil {
			t.Error("explained before there is anything")
		}
		h.run()
		synctest.Wait()
		defer h.stop()
		h.find(withNetworks(testPeer(8), "10.1.0.0/16"), testPeer(16))
		own := h.agent.Status().Node.Address
		for _, tt := range []struct {
			to, from string
			path     firewall.Path
			peer     string
			rule     string
		}{
			{"10.1.2.3", "", firewall.PathTunnel, "node-8", ""},
			{"::ffff:10.1.2.3", "", firewall.PathTunnel, "node-8", ""},
			{testPeer(16).Address.String(), "", firewall.PathTunnel, "node-16", ""},
			{"198.51.100.1", "", firewall.PathBypass, "", ""},
			{"192.0.2.1", "", firewall.PathLocal, "", ""},
			{"127.0.0.1", "", firewall.PathLocal, "", ""},
			{own.String(), "node-8", firewall.PathLocal, "", "web"},
			{"192.0.2.1", "10.1.9.9", firewall.PathLocal, "", "web"},
			{own.String(), testPeer(16).NodeID, firewall.PathRefused, "", ""},
		} {
			e, err := h.agent.Explain(ExplainQuery{To: netip.MustParseAddr(tt.to), Port: 80, Protocol: firewall.ProtocolTCP, From: tt.from})
			if err != nil || e.Plan.Path != tt.path || e.Plan.Peer != tt.peer || e.Plan.Rule != tt.rule || e.Difference != "" || e.Kernel == nil {
				t.Errorf("to %s from %q: %+v, %v; want %s, peer %q, rule %q", tt.to, tt.from, e, err, tt.path, tt.peer, tt.rule)
			}
		}
		if _, err := h.agent.Explain(ExplainQuery{To: own, From: "stranger"}); err == nil || !strings.Contains(err.Error(), "neither an address nor a peer") {
			t.Errorf("from a stranger: %v", err)
		}
		if _, err := h.agent.Explain(ExplainQuery{To: own, From: "10.1.9.9"}); err == nil || !strings.Contains(err.Error(), "one is IPv4 and the other IPv6") {
			t.Errorf("of two families: %v", err)
		}
		e, err := h.agent.Explain(ExplainQuery{To: netip.MustParseAddr("10.1.2.3")})
		if err != nil || e.Route != mesh.PathTunnel || e.State == nil {
			t.Errorf("route %q, state %v, %v", e.Route, e.State, err)
		}
		h.fw.With(func() { h.fw.Policy = nil })
		if e, err := h.agent.Explain(ExplainQuery{To: netip.MustParseAddr("10.1.2.3")}); err != nil || !strings.Contains(e.Difference, "the plan says tunnel and the kernel bypass") {
			t.Errorf("with an empty kernel: %q, %v", e.Difference, err)
		}
		h.fw.With(func() { h.fw.Err = errTest })
		if _, err := h.agent.Explain(ExplainQuery{To: own}); err == nil {
			t.Error("no error although the kernel can't be asked")
		}
		h.fw.With(func() { h.fw.Err = nil })
	})
}

// On a netstack nothing is said of the kernel's interface, of which there is none, and the
// kernel is not asked.
func TestExplainOnNetstack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument, ingressDocument)
		h.config.Backend = Backend{Netstack: true}
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(8), "10.1.0.0/16"), testPeer(16))
		own := h.agent.Status().Node.Address
		for _, q := range []ExplainQuery{
			{To: netip.MustParseAddr("10.1.2.3")},
			{To: testPeer(16).Address},
			{To: own},
			{To: netip.MustParseAddr("198.51.100.1")},
			{To: own, From: "node-8", Port: 80, Protocol: firewall.ProtocolTCP},
			{To: own, From: "node-16", Port: 80, Protocol: firewall.ProtocolTCP},
			{To: netip.MustParseAddr("10.1.2.3"), From: "10.1.9.9"},
			{To: netip.MustParseAddr("fd99::1"), From: "node-8"},
		} {
			e, err := h.agent.Explain(q)
			text := fmt.Sprintf("%+v", e)
			if err != nil || e.Kernel != nil || len(e.Plan.Reasons) == 0 {
				t.Errorf("%+v: %s, %v", q, text, err)
			}
			for _, word := range []string{h.config.Effective.InterfaceName, "table ", "mark ", "forwarding"} {
				if strings.Contains(text, word) {
					t.Errorf("%+v: %q in %s", q, word, text)
				}
			}
		}
	})
}

// Explain adds what is known to keep this node from the peer.
func TestExplainHasConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		notes := []mesh.Condition{{Type: mesh.ConditionNoJoinToken, Message: "no address"}}
		h.config.Observed = func([]mesh.Link) []mesh.Condition {
			h.mu.Lock()
			defer h.mu.Unlock()
			return notes
		}
		h.start()
		defer h.stop()
		there := netip.MustParseAddrPort("192.0.2.8:51820")
		h.find(testPeer(8, there.String()), testPeer(16, liveEndpoint))
		dev := h.device()
		dev.With(func() {
			a := mesh.Attempt{Endpoint: there}
			for i := range a.Handshakes {
				a.Handshakes[i] = time.Now().Add(time.Duration(i) * time.Second)
			}
			dev.Tried = []mesh.Attempt{a}
		})
		h.advance(mesh.ReconcileInterval)
		if got := h.condition(mesh.ConditionNoAnswer); !strings.Contains(got, "does not answer from "+there.String()) {
			t.Errorf("condition = %q", got)
		}
		for to, want := range map[netip.Addr]mesh.ConditionType{
			testPeer(8).Address: mesh.ConditionNoAnswer, testPeer(16).Address: "",
			h.agent.Status().Node.Address: mesh.ConditionNoJoinToken, netip.MustParseAddr("198.51.100.1"): "",
		} {
			e, err := h.agent.Explain(ExplainQuery{To: to})
			if err != nil || len(e.Conditions) != min(len(want), 1) || want != "" && e.Conditions[0].Type != want {
				t.Errorf("to %v: %+v, %v; want %q", to, e.Conditions, err, want)
			}
		}
		dev.With(func() {
			dev.Tried = []mesh.Attempt{{Endpoint: there, Refusal: mesh.RefusedByFirewall, Error: "operation not permitted"}}
		})
		h.advance(mesh.ReconcileInterval)
		if got := h.condition(mesh.ConditionSendRefused); !strings.Contains(got, "node-8 at "+there.String()) || h.condition(mesh.ConditionNoAnswer) != "" {
			t.Errorf("conditions %+v", h.agent.Status().Conditions)
		}
		if e, err := h.agent.Explain(ExplainQuery{To: testPeer(8).Address}); err != nil || len(e.Conditions) != 1 {
			t.Errorf("%+v, %v", e.Conditions, err)
		}
		dev.With(func() { dev.Tried = nil })
		h.mu.Lock()
		notes = nil
		h.mu.Unlock()
		h.advance(mesh.ReconcileInterval)
		if got := h.agent.Status().Conditions; len(got) != 0 {
			t.Errorf("conditions stay: %+v", got)
		}
	})
}
