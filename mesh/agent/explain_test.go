package agent

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

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
