package agent

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

func withNetworks(a mesh.Affiliate, networks ...string) mesh.Affiliate {
	a.AdditionalAddresses = nil
	for _, n := range networks {
		a.AdditionalAddresses = append(a.AdditionalAddresses, netip.MustParsePrefix(n))
	}
	return a
}

func has(list []netip.Prefix, prefix string) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Overlaps(netip.MustParsePrefix(prefix)) })
}

// The firewall is in place before the device has the first peer, and what moves
// from one plan to the next is covered on the way.
func TestFirewallFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		var peersThen []int
		h.fw.OnApply = func() { peersThen = append(peersThen, len(h.device().Config())) }
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		if !has(h.fw.Routed(), "10.1.0.0/16") || len(h.device().Config()) != 1 {
			t.Fatalf("routed %v, %d peers", h.fw.Routed(), len(h.device().Config()))
		}
		if first := slices.IndexFunc(h.fw.History, func(p firewall.Policy) bool { return has(p.Routed, "10.1.0.0/16") }); first < 0 || peersThen[first] != 0 {
			t.Errorf("routed first at apply %d, when the device had %v peers", first, peersThen)
		}
		before := len(h.fw.History)
		h.find(withNetworks(testPeer(1), "10.2.0.0/16"))
		during, after := h.fw.History[before], h.fw.History[len(h.fw.History)-1]
		if !has(during.Routed, "10.1.0.0/16") || !has(during.Routed, "10.2.0.0/16") {
			t.Errorf("during the change %v is routed", during.Routed)
		}
		if has(after.Routed, "10.1.0.0/16") || !has(after.Routed, "10.2.0.0/16") {
			t.Errorf("after the change %v is routed", after.Routed)
		}
	})
}

// If the link can't be set up, networks are still routed, and so refused, but the device
// gets no new peer. By a name that another link has, nothing is routed, and the device
// loses its peers, too: the firewall would not know their packets.
func TestLinkFails(t *testing.T) {
	for _, tc := range []struct {
		err    error
		routed bool
		peers  int
	}{
		{errTest, true, 1},
		{fmt.Errorf("interface wirespan0: %w", mesh.ErrNameTaken), false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, meshDocument)
			h.start()
			defer h.stop()
			h.find(testPeer(8))
			dev := h.device()
			dev.With(func() { dev.ConfigureErr = tc.err })
			h.advance(mesh.ReconcileInterval)
			h.find(testPeer(8), withNetworks(testPeer(16), "10.1.0.0/16"))
			if got := has(h.fw.Routed(), "10.1.0.0/16"); got != tc.routed || len(dev.Config()) != tc.peers {
				t.Errorf("%v: routed: %v, %d peers", tc.err, got, len(dev.Config()))
			}
			if c := h.condition(conditionApply); c != tc.err.Error() {
				t.Errorf("condition %q", c)
			}
			dev.With(func() { dev.ConfigureErr = nil })
			h.advance(time.Minute)
			if !has(h.fw.Routed(), "10.1.0.0/16") || len(dev.Config()) != 2 || h.condition(conditionApply) != "" {
				t.Errorf("%v is over: routed %v, %d peers, condition %q", tc.err, h.fw.Routed(), len(dev.Config()), h.condition(conditionApply))
			}
		})
	}
}

// Without its rules nothing is added to the device, and it is tried again.
func TestFirewallFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.fw.Err, h.fw.Warnings = errTest, []mesh.Condition{{Type: "Firewall", Subject: "warning 1", Message: "somebody uses firewall.mask"}}
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		if n := len(h.device().Config()); n != 0 {
			t.Errorf("the device has %d peers without a firewall", n)
		}
		if c := h.condition(conditionApply); !strings.Contains(c, "routing and firewall: "+errTest.Error()) {
			t.Errorf("condition %q", c)
		}
		if c := h.condition("Firewall"); c != h.fw.Warnings[0].Message {
			t.Errorf("warning %q", c)
		}
		h.fw.With(func() { h.fw.Err = nil })
		h.advance(time.Minute)
		if n := len(h.device().Config()); n != 1 || h.condition(conditionApply) != "" {
			t.Errorf("%d peers after the firewall works, condition %q", n, h.condition(conditionApply))
		}
	})
}

// What others change is mended at once.
func TestFirewallHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		h.fw.With(func() { h.fw.Policy = nil })
		h.fw.Disturbed <- struct{}{}
		synctest.Wait()
		if !has(h.fw.Routed(), "10.1.0.0/16") {
			t.Errorf("after interference %v is routed", h.fw.Routed())
		}
	})
}

// Somebody who goes on changing things gets no more than his share of the time.
func TestFirewallStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		before := len(h.fw.History)
		const second = 100
		for range second { // of changes every 10 ms
			select {
			case h.fw.Disturbed <- struct{}{}:
			default:
			}
			h.advance(10 * time.Millisecond)
		}
		if n := len(h.fw.History) - before; n < 10 || n > 2*11 { // twice per pass
			t.Errorf("applied %d times in a second of changes", n)
		}
	})
}

// A policy that can't be written down is in place all the same.
func TestFirewallWithoutMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		broken, err := state.Open(t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		h.config.Memory = state.OpenMemory(broken)
		if err := os.Remove(broken.Root()); err != nil {
			t.Fatal(err)
		}
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		if !has(h.fw.Routed(), "10.1.0.0/16") || len(h.device().Config()) != 1 || h.condition(conditionMemory) == "" || h.condition(conditionApply) != "" {
			t.Errorf("routed %v, %d peers, conditions %q and %q", h.fw.Routed(), len(h.device().Config()), h.condition(conditionMemory), h.condition(conditionApply))
		}
	})
}

// Stopping keeps the rules; leaving removes them, after the device.
func TestFirewallStopAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		h.stop()
		if h.fw.Removals != 0 || !has(h.fw.Routed(), "10.1.0.0/16") {
			t.Errorf("stopped: removed %d times, routed %v", h.fw.Removals, h.fw.Routed())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		if err := h.agent.Leave(h.ctx); err != nil {
			t.Error(err)
		}
		if err := <-h.exited; err != nil {
			t.Error(err)
		}
		if h.fw.Removals != 1 || !h.device().Closed {
			t.Errorf("left: removed %d times, device closed: %v", h.fw.Removals, h.device().Closed)
		}
		if h.config.Memory.Policy().Routed != nil {
			t.Error("the policy is remembered after leaving")
		}
	})
}

// A restart keeps what was routed until discovery has answered, and what no peer
// has for a while longer: the service may have lost its state, too.
func TestFirewallRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16", "10.3.0.0/16"))
		h.stop()
		h.config.Memory, h.fw.Policy = state.OpenMemory(h.state), nil
		h.start()
		defer h.stop()
		if !has(h.fw.Routed(), "10.1.0.0/16") {
			t.Errorf("before discovery answers %v is routed", h.fw.Routed())
		}
		h.find()
		if !has(h.fw.Routed(), "10.1.0.0/16") {
			t.Errorf("after it has answered that there is nobody, %v is routed", h.fw.Routed())
		}
		h.find(withNetworks(testPeer(1), "10.2.0.0/16", "10.3.0.0/16"))
		h.find(withNetworks(testPeer(1), "10.2.0.0/16"))
		if has(h.fw.Routed(), "10.3.0.0/16") {
			t.Errorf("the peer had 10.3.0.0/16 again and gave it up, and %v is routed", h.fw.Routed())
		}
		if !has(h.fw.Routed(), "10.1.0.0/16") || !has(h.fw.Routed(), "10.2.0.0/16") {
			t.Errorf("after it has answered %v is routed", h.fw.Routed())
		}
		h.advance(retainTime + time.Minute)
		if has(h.fw.Routed(), "10.1.0.0/16") || !has(h.fw.Routed(), "10.2.0.0/16") {
			t.Errorf("after %v %v is routed", retainTime, h.fw.Routed())
		}
	})
}

// If the pins are lost, nodes that sign nothing are named with the keys that they have now,
// and what was routed stays refused as long as the pins would have held it.
func TestLostPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		unsigned, signed := testPeer(8), withNetworks(testPeer(16), "10.2.0.0/16")
		signed.Record = mesh.Record{Sequence: 5, Start: 5}
		h.find(unsigned, signed, withNetworks(testPeer(24), "10.3.0.0/16"))
		h.stop()
		if err := h.state.Replace(state.PinsFile, []byte("{")); err != nil {
			t.Fatal(err)
		}
		unsigned.PublicKey = mesh.NewPrivateKey([32]byte{32}).Public()
		for _, start := range []string{"damaged", "set aside"} {
			h.config.Memory = state.OpenMemory(h.state)
			h.start()
			h.find(unsigned, signed)
			if c := h.condition(state.ConditionDamaged); !strings.Contains(c, state.PinsFile) {
				t.Errorf("%s: condition %q", start, c)
			}
			if c := h.condition(conditionUnproven); !strings.HasSuffix(c, ": node-8 with "+unsigned.PublicKey.String()) {
				t.Errorf("%s: condition %q", start, c)
			}
			h.advance(23 * time.Hour)
			if !has(h.fw.Routed(), "10.3.0.0/16") {
				t.Errorf("%s: in the clear: 10.3.0.0/16 of a node that is gone", start)
			}
			if start == "set aside" {
				h.advance(2 * time.Hour)
				if has(h.fw.Routed(), "10.3.0.0/16") || !has(h.fw.Routed(), "10.2.0.0/16") {
					t.Errorf("a day later %v is routed", h.fw.Routed())
				}
			}
			h.stop()
		}
		if err := h.state.Remove(state.PinsFile + ".damaged"); err != nil {
			t.Fatal(err)
		}
		h.config.Memory = state.OpenMemory(h.state)
		h.start()
		defer h.stop()
		h.find(unsigned, signed)
		if c := h.condition(state.ConditionDamaged) + h.condition(conditionUnproven); c != "" {
			t.Errorf("after the file was removed: %q", c)
		}
	})
}

// What is in no kernel is not kept: at the next boot it would be put there.
func TestNetstackKeepsNoPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.config.Backend.Netstack = true
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		if p := h.config.Memory.Policy(); p.Table != "" {
			t.Errorf("kept %+v", p)
		}
	})
}

// A mesh that is turned off takes its rules with it.
func TestFirewallDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		off := settings(t, identityDocuments)
		h.reload = func() (*Effective, error) { return off, nil }
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(1), "10.1.0.0/16"))
		if _, err := h.agent.Reload(h.ctx); err != nil {
			t.Fatal(err)
		}
		h.advance(time.Hour)
		if h.fw.Removals != 1 || h.fw.Policy != nil {
			t.Errorf("removed %d times, policy %v", h.fw.Removals, h.fw.Policy)
		}
	})
}

// A node with another key is quarantined over restarts, until it is accepted.
func TestAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		a := testPeer(1)
		h.find(a)
		h.stop()
		h.config.Memory = state.OpenMemory(h.state)
		h.start()
		defer h.stop()
		a.PublicKey = mesh.NewPrivateKey([32]byte{9}).Public()
		h.find(a)
		if n := len(h.agent.Status().Peers); n != 0 || !strings.Contains(h.condition(mesh.ConditionIdentityChanged), "wirespan accept") {
			t.Fatalf("%d peers, condition %q", n, h.condition(mesh.ConditionIdentityChanged))
		}
		if err := h.agent.Accept(h.ctx, "node-2"); err == nil {
			t.Error("a node that is not quarantined was accepted")
		}
		if err := h.agent.Accept(h.ctx, "node-1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(h.agent.Status().Peers); n != 1 || h.condition(mesh.ConditionIdentityChanged) != "" {
			t.Errorf("accepted: %d peers, condition %q", n, h.condition(mesh.ConditionIdentityChanged))
		}
	})
}

// Peers don't get what this host depends on, discovery services included.
func TestDependenciesAreProtected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.host.Facts = mesh.Underlay{Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, DNSServers: []netip.Addr{netip.MustParseAddr("10.1.0.53")}}
		h.start()
		defer h.stop()
		snap := h.registry().Snapshot()
		snap.Affiliates, snap.Connected = []mesh.Affiliate{withNetworks(testPeer(1), "10.1.0.0/16")}, true
		snap.ServerAddr = netip.MustParseAddr("10.1.7.7")
		h.registry().Show(snap)
		synctest.Wait()
		for _, kept := range []string{"10.1.0.1/32", "10.1.0.53/32", "10.1.7.7/32"} {
			if has(h.fw.Routed(), kept) {
				t.Errorf("%s is routed to a peer", kept)
			}
		}
		if !has(h.fw.Routed(), "10.1.0.2/32") {
			t.Errorf("routed %v", h.fw.Routed())
		}
	})
}
