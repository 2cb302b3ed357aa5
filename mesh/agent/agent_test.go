package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent/agenttest"
)

const (
	deadEndpoint = "198.51.100.1:51820"
	liveEndpoint = "198.51.100.2:51820"
)

// bubble runs a started agent in virtual time.
func bubble(t *testing.T, docs []string, test func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, docs...)
		h.live = []string{liveEndpoint}
		h.start()
		test(h)
		if h.ctx.Err() == nil {
			h.stop()
		}
	})
}

func TestPeerIsAppliedOnce(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, liveEndpoint)
		h.find(p)
		h.wantPeer(p, mesh.PeerStateUnknown, liveEndpoint)
		h.advance(agenttest.RoundTrip)
		h.wantPeer(p, mesh.PeerStateUp, liveEndpoint)

		dev := h.device()
		h.find(p)
		for range 8 {
			h.advance(mesh.ReconcileInterval)
			dev.Handshake(p.PublicKey, p.Endpoints[0])
			synctest.Wait()
		}
		dev.With(func() {
			if dev.Touched != 1 {
				t.Errorf("the peer was touched %d times, want once", dev.Touched)
			}
			want := netip.PrefixFrom(h.agent.self.Address, 64)
			if dev.MTU != 1420 || !slices.Equal(dev.Addresses, []netip.Prefix{want}) {
				t.Errorf("link has MTU %d, addresses %v", dev.MTU, dev.Addresses)
			}
			if got := dev.Peers[p.PublicKey].PresharedKey.RevealBase64(); got != testSecret {
				t.Error("the preshared key is not the cluster secret")
			}
		})
		h.find()
		if n := len(h.agent.Status().Peers); n != 1 {
			t.Errorf("%d peers after the affiliate of one with a session has gone", n)
		}
		h.advance(mesh.PeerDownInterval + mesh.ReconcileInterval)
		if n := len(h.agent.Status().Peers); n != 0 {
			t.Errorf("%d peers after affiliate and session have gone", n)
		}
		h.wantLogged(1, "peer added")
		h.wantLogged(1, "peer state changed")
		h.wantLogged(1, "peer removed")
	})
}

// The device's settings are applied anew at every tick, which heals what others
// changed, and at no other time.
func TestTickHeals(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find(testPeer(2, liveEndpoint))
		h.advance(mesh.ReconcileInterval)
		dev := h.device()
		var before int
		dev.With(func() { before, dev.MTU = len(dev.Applies), 9000 })
		h.find(testPeer(2, liveEndpoint))
		dev.With(func() {
			if len(dev.Applies) != before {
				t.Error("peers were applied without a change or a tick")
			}
		})
		h.advance(mesh.ReconcileInterval)
		dev.With(func() {
			if len(dev.Applies) != before+1 || dev.MTU != 1420 {
				t.Errorf("a tick applied peers %d times, MTU is %d", len(dev.Applies)-before, dev.MTU)
			}
		})
	})
}

func TestStatusIsNeverOlderThanATick(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		for range 10 {
			changed := h.agent.Status().Changed()
			h.advance(mesh.ReconcileInterval)
			select {
			case <-changed:
			default:
				t.Error("watchers of the status were not told")
			}
			if age := time.Since(h.agent.Status().Updated); age > 0 {
				t.Errorf("after a tick the status is %s old", age)
			}
		}
	})
}

// A dead endpoint is given up after exactly 15 s, and the next one tried.
func TestEndpointCycling(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, deadEndpoint, liveEndpoint)
		h.find(p)
		h.advance(mesh.EndpointTimeout - time.Millisecond)
		h.wantPeer(p, mesh.PeerStateUnknown, deadEndpoint)
		h.advance(time.Millisecond)
		h.wantPeer(p, mesh.PeerStateUnknown, liveEndpoint)
		h.advance(agenttest.RoundTrip)
		h.wantPeer(p, mesh.PeerStateUp, liveEndpoint)

		// It falls silent: 275 s later the next in the list is due.
		h.advance(mesh.PeerDownInterval - time.Millisecond)
		h.wantPeer(p, mesh.PeerStateUp, liveEndpoint)
		h.advance(2 * time.Millisecond)
		h.wantPeer(p, mesh.PeerStateUnknown, deadEndpoint)
		h.advance(mesh.EndpointTimeout + agenttest.RoundTrip)
		h.wantPeer(p, mesh.PeerStateUp, liveEndpoint)
	})
}

// With nothing else to try, a peer is down from 15 s on, until it calls.
func TestPeerDown(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, deadEndpoint)
		h.find(p)
		h.advance(mesh.EndpointTimeout - time.Millisecond)
		h.wantPeer(p, mesh.PeerStateUnknown, deadEndpoint)
		h.advance(time.Millisecond)
		h.wantPeer(p, mesh.PeerStateDown, deadEndpoint)
		h.wantLogged(1, "peer state changed: peer=node-2 from=unknown to=down")

		h.device().Handshake(p.PublicKey, netip.MustParseAddrPort("203.0.113.9:4000"))
		synctest.Wait()
		h.wantPeer(p, mesh.PeerStateUp, "203.0.113.9:4000")
		h.advance(mesh.PeerDownInterval - time.Millisecond)
		h.wantPeer(p, mesh.PeerStateUp, "203.0.113.9:4000")
		h.advance(2 * time.Millisecond)
		h.wantPeer(p, mesh.PeerStateUnknown, deadEndpoint) // it may be back where it was
		h.advance(mesh.EndpointTimeout)
		h.wantPeer(p, mesh.PeerStateDown, deadEndpoint)
	})
}

func TestHarvestedEndpointsArePublished(t *testing.T) {
	bubble(t, []string{strings.Replace(meshDocument, "enabled: true\n", "enabled: true\nharvestExtraEndpoints: true\n", 1)}, func(h *harness) {
		p := testPeer(2, deadEndpoint)
		h.find(p)
		if got := h.registry().Last().Others; len(got) != 0 {
			t.Errorf("published for others before any handshake: %v", got)
		}
		h.advance(time.Second)
		seen := netip.MustParseAddrPort("203.0.113.9:4000")
		h.device().Handshake(p.PublicKey, seen)
		synctest.Wait()
		want := []mesh.Endpoint{{PublicKey: p.PublicKey, AffiliateID: p.NodeID, Endpoint: seen}}
		if got := h.registry().Last().Others; !slices.Equal(got, want) {
			t.Errorf("published for others: %v, want %v", got, want)
		}
	})
}

func TestLocalAffiliateIsPublished(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		public := netip.MustParseAddr("203.0.113.1")
		h.registry().Show(discovery.Snapshot{Connected: true, PublicAddr: public})
		synctest.Wait()
		got := h.registry().Last().Affiliate
		want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820"), netip.AddrPortFrom(public, 51820)}
		if !slices.Equal(got.Endpoints, want) || got.Nodename != "self.example" || got.MachineType != mesh.MachineUnknown || got.ControlPlanePort != 0 {
			t.Errorf("published %+v", got)
		}
	})
}

func TestApplyFailureIsRetried(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		dev := h.device()
		dev.With(func() { dev.ApplyErr, dev.Applies = errTest, nil })
		p := testPeer(2, liveEndpoint)
		h.find(p)
		if got := h.condition(conditionApply); !strings.Contains(got, errTest.Error()) {
			t.Errorf("condition = %q, want the failure", got)
		}
		if s := h.agent.Status(); s.Ready || !strings.Contains(s.NotReady, "could not be applied") {
			t.Errorf("ready = %v (%s)", s.Ready, s.NotReady)
		}
		first := time.Now()
		h.advance(16 * time.Second)
		dev.With(func() {
			var after []time.Duration
			for _, at := range dev.Applies {
				after = append(after, at.Sub(first))
			}
			// 1, 2, 4 and 8 s apart; at 15 s the peer's endpoint is due as well.
			want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second}
			if !slices.Equal(after, want) {
				t.Errorf("applied after %v, want %v", after, want)
			}
			dev.ApplyErr = nil
		})
		h.advance(mesh.ReconcileInterval)
		h.advance(agenttest.RoundTrip)
		h.wantPeer(p, mesh.PeerStateUp, liveEndpoint)
		if got := h.condition(conditionApply); got != "" {
			t.Errorf("condition stays: %q", got)
		}
		if s := h.agent.Status(); !s.Ready {
			t.Errorf("not ready: %s", s.NotReady)
		}
		h.wantLogged(1, "[WARN]  "+errTest.Error())
		h.wantLogged(1, "condition cleared")
	})
}

// Statistics that can't be read are not taken for lost peers.
func TestStatsFailureKeepsPeers(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, liveEndpoint)
		h.find(p)
		h.advance(time.Second)
		dev := h.device()
		dev.With(func() { dev.StatsErr = errTest })
		h.advance(mesh.ReconcileInterval)
		h.wantPeer(p, mesh.PeerStateUp, liveEndpoint)
		if h.condition(conditionApply) == "" {
			t.Error("no condition")
		}
		dev.With(func() { dev.StatsErr = nil })
		h.advance(mesh.ReconcileInterval)
		if got := h.condition(conditionApply); got != "" {
			t.Errorf("condition stays: %q", got)
		}
	})
}

func TestDeadDeviceIsReopened(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, liveEndpoint)
		h.find(p)
		h.advance(time.Second)
		dead := h.device()
		h.mu.Lock()
		h.openErr = errTest
		h.mu.Unlock()
		close(dead.Gone)
		synctest.Wait()
		if !dead.Closed {
			t.Error("the dead device was not closed")
		}
		if s := h.agent.Status(); s.NotReady != "the tunnel device is not open" || !strings.Contains(h.condition(conditionApply), errTest.Error()) {
			t.Errorf("not ready: %q, conditions %v", s.NotReady, s.Conditions)
		}
		if _, err := h.agent.Ping(h.ctx, p.Address, 56); err == nil {
			t.Error("a ping without a device succeeds")
		}
		h.mu.Lock()
		h.openErr = nil
		h.mu.Unlock()
		h.advance(time.Second)
		if h.device() == dead {
			t.Fatal("no new device within a second")
		}
		h.advance(agenttest.RoundTrip)
		h.wantPeer(p, mesh.PeerStateUp, liveEndpoint)
		if !h.agent.Status().Ready {
			t.Errorf("not ready: %s", h.agent.Status().NotReady)
		}
	})
}

func TestStartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.openErr = errTest
		h.run()
		if err := <-h.exited; err == nil || !strings.Contains(err.Error(), "opening the device: "+errTest.Error()) {
			t.Errorf("Run = %v", err)
		}
		if _, err := h.agent.Reload(h.t.Context()); err == nil || !strings.Contains(err.Error(), "has stopped") {
			t.Errorf("Reload of a stopped agent = %v", err)
		}
	})
}

func TestLookReadsTheCounters(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, liveEndpoint)
		h.find(p)
		h.advance(agenttest.RoundTrip)
		dev := h.device()
		dev.With(func() {
			st := dev.Counters[p.PublicKey]
			st.ReceiveBytes = 4711
			dev.Counters[p.PublicKey] = st
		})
		if got := h.peer(p).ReceiveBytes; got == 4711 {
			t.Fatal("the counter is fresh before anybody looked")
		}
		if err := h.agent.Look(h.ctx); err != nil {
			t.Fatal(err)
		}
		if got := h.peer(p).ReceiveBytes; got != 4711 {
			t.Errorf("received bytes = %d after a look, want 4711", got)
		}
		h.stop()
		if err := h.agent.Look(context.Background()); err == nil {
			t.Error("a stopped agent looked")
		}
	})
}

// The device hears of changes of addresses, links and default routes, and not of what
// containers do. A registry hears of those that may have broken its connection; without a
// connection, of all.
func TestHostChangesAreHeard(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		eth := h.host.LinkList[0]
		v6 := netip.MustParsePrefix("2001:db8::7/64")
		gateways := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
		down, six, wwan := eth, eth, mesh.Link{Name: "wwan0", Up: true, DefaultRoute: true}
		down.Up = false
		six.Addresses = append(slices.Clone(eth.Addresses), v6)
		container := mesh.Link{Name: "veth1", Kind: "veth", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.2/16")}}
		device, registry, offline := 0, 0, true
		for _, step := range []struct {
			what     string
			links    []mesh.Link
			gateways []netip.Addr
			online   bool
			heard    int // by the device
			moved    int // the registry
		}{
			{"nothing", []mesh.Link{eth}, nil, true, 0, 0},
			{"a container", []mesh.Link{eth, container}, nil, true, 0, 0},
			{"a link down", []mesh.Link{down}, nil, true, 1, 1},
			{"a link up", []mesh.Link{eth}, nil, true, 1, 0},
			{"a link down, unconnected", []mesh.Link{down}, nil, false, 1, 1},
			{"a link up, unconnected", []mesh.Link{eth}, nil, false, 1, 1},
			{"another address", []mesh.Link{six}, nil, true, 1, 0},
			{"the first gateways", []mesh.Link{six}, gateways, true, 1, 0},
			{"another IPv6 gateway", []mesh.Link{six}, gateways[:1], true, 1, 0},
			{"an IPv6 address less", []mesh.Link{eth}, gateways[:1], true, 1, 0},
			{"another IPv4 gateway", []mesh.Link{eth}, nil, true, 1, 1},
			{"another default route", []mesh.Link{eth, wwan}, nil, true, 1, 1},
			{"a link less", []mesh.Link{wwan}, nil, true, 1, 1},
		} {
			if offline == step.online {
				h.registry().Show(discovery.Snapshot{Connected: step.online, ServerAddr: netip.MustParseAddr("192.0.2.200")})
				offline = !step.online
			}
			h.host.Change(func() { h.host.LinkList, h.host.Facts.Gateways = step.links, step.gateways })
			h.advance(time.Minute)
			device, registry = device+step.heard, registry+step.moved
			if got := h.device().HostChanges; got != device {
				t.Errorf("%s: the device heard of %d changes, want %d", step.what, got, device)
			}
			if got := h.registry().Moves(); got != registry {
				t.Errorf("%s: the registry heard of %d changes, want %d", step.what, got, registry)
			}
		}
	})
}
