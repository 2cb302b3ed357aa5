package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := New(newHarness(t, meshDocument).config)
		if err != nil {
			t.Fatal(err)
		}
		if s := a.Status(); s.Ready || s.NotReady == "" || s.Peers == nil || s.Updated.IsZero() {
			t.Errorf("before the start: %+v", s)
		}
	})
	bubble(t, []string{meshDocument}, func(h *harness) {
		if s := h.agent.Status(); s.Ready || s.NotReady != "no source of nodes has answered yet" {
			t.Errorf("at first: ready = %v (%s)", s.Ready, s.NotReady)
		}
		h.find(testPeer(2, liveEndpoint))
		if s := h.agent.Status(); !s.Ready || s.NotReady != "" {
			t.Errorf("connected: ready = %v (%s)", s.Ready, s.NotReady)
		}
		h.registry().Show(discovery.Snapshot{Affiliates: []mesh.Affiliate{testPeer(2, liveEndpoint)}, LastError: errTest})
		synctest.Wait()
		s := h.agent.Status()
		if !s.Ready {
			t.Errorf("an outage of discovery makes a node unready that knows its peers: %s", s.NotReady)
		}
		if len(s.Discovery) != 1 || s.Discovery[0].Connected || s.Discovery[0].Error != errTest.Error() || s.Discovery[0].Affiliates != 1 {
			t.Errorf("discovery = %+v", s.Discovery)
		}
		h.registry().Show(discovery.Snapshot{Affiliates: []mesh.Affiliate{testPeer(2, liveEndpoint)}, Connected: true, LastError: errTest})
		synctest.Wait()
		if s := h.agent.Status(); !s.Discovery[0].Connected || s.Discovery[0].Error != errTest.Error() {
			t.Errorf("a source that takes nothing of this node: %+v", s.Discovery)
		}
	})
}

// A second member with our address is named, once.
func TestSecondNodeWithOurAddress(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, liveEndpoint)
		p.Address = h.agent.Status().Node.Address
		h.find(p)
		if got := h.condition(mesh.ConditionDuplicateAddress); !strings.Contains(got, "node-2") {
			t.Errorf("condition = %q, want one that names node-2", got)
		}
		h.advance(10 * mesh.ReconcileInterval)
		h.wantLogged(1, "condition="+string(mesh.ConditionDuplicateAddress))
		p.Address = testPeer(2).Address
		h.find(p)
		if got := h.condition(mesh.ConditionDuplicateAddress); got != "" {
			t.Errorf("condition stays: %q", got)
		}
		h.wantLogged(1, "condition cleared: condition="+string(mesh.ConditionDuplicateAddress))
	})
}

func TestDiscoveryProblemsAreConditions(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.registry().Show(discovery.Snapshot{Connected: true, Problems: []discovery.Problem{{AffiliateID: "x", Reason: "wrong secret?"}}})
		synctest.Wait()
		h.advance(10 * mesh.ReconcileInterval)
		if got := h.condition(conditionData); got != "discovery service one: wrong secret?" {
			t.Errorf("condition = %q", got)
		}
		h.wantLogged(1, "wrong secret?")
	})
}

// A node that was known, and now has another secret, is named.
func TestUnreadableNodeIsNamed(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		known, other := testPeer(2, liveEndpoint), testPeer(8, "192.0.2.8:51820")
		h.find(known, other)
		h.advance(time.Second)
		problem := discovery.Problem{AffiliateID: known.NodeID, Reason: "wrong secret?"}
		h.registry().Show(discovery.Snapshot{Connected: true, Affiliates: []mesh.Affiliate{other}, Problems: []discovery.Problem{problem}})
		synctest.Wait()
		if got := h.condition(conditionData); got != "discovery service one: node-2 at "+liveEndpoint+": wrong secret?" {
			t.Errorf("condition = %q", got)
		}
		if s := h.agent.Status(); !s.Ready {
			t.Errorf("not ready: %s", s.NotReady)
		}
	})
}

func TestHostTrouble(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find()
		h.host.Change(func() { h.host.Err = errTest })
		synctest.Wait()
		if got := h.condition(conditionHost); !strings.Contains(got, "looking at this host: "+errTest.Error()) {
			t.Errorf("condition = %q", got)
		}
		if got := h.registry().Last().Affiliate.Endpoints; len(got) != 1 {
			t.Errorf("endpoints after a failed look at the host: %v, want those known before", got)
		}
		h.host.Change(func() { h.host.Err, h.host.LinkList[0].MTU = nil, 1400 })
		synctest.Wait()
		dev := h.device()
		dev.With(func() {
			if got := dev.MTU; got != 1320 {
				t.Errorf("MTU = %d after the underlay's became 1400", got)
			}
		})
	})
}

func TestFragmentedPathsAreConditions(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		dev := h.device()
		dev.With(func() { dev.FragmentedHosts = []netip.Addr{netip.MustParseAddr("192.0.2.7")} })
		h.advance(mesh.ReconcileInterval)
		if got := h.condition(conditionMTU); !strings.Contains(got, "fragmented") {
			t.Errorf("condition = %q", got)
		}
		dev.With(func() { dev.FragmentedHosts = nil })
		h.advance(mesh.ReconcileInterval)
		if got := h.condition(conditionMTU); got != "" {
			t.Errorf("condition stays: %q", got)
		}
	})
}

func TestReturnedPacketsAreACondition(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		dev := h.device()
		dev.With(func() { dev.Looped = 3 })
		h.advance(mesh.ReconcileInterval)
		if got := h.condition(mesh.ConditionMarkRewritten); !strings.Contains(got, "3 encrypted packets back into the tunnel") {
			t.Errorf("condition = %q", got)
		}
		h.advance(droppedTime)
		if got := h.condition(mesh.ConditionMarkRewritten); got != "" {
			t.Errorf("condition stays: %q", got)
		}
	})
}

func TestMeshDisabled(t *testing.T) {
	bubble(t, nil, func(h *harness) {
		if len(h.devices) != 0 {
			t.Error("a device was opened although the mesh is off")
		}
		h.find(testPeer(2, liveEndpoint))
		if s := h.agent.Status(); !s.Ready || s.Enabled || len(s.Peers) != 0 {
			t.Errorf("status = %+v", s)
		}
		if got := h.registry().Last().Affiliate; !got.PublicKey.IsZero() || got.Nodename != "" {
			t.Errorf("published %+v", got)
		}
		for typ, want := range map[int]int{typeAffiliates: 2, typeMembers: 1, typeIdentities: 0, typePeerSpecs: 0} {
			if list, _ := h.agent.Resources().List(ResourceTypes[typ].Name, "", false); len(list) != want {
				t.Errorf("%d %s, want %d", len(list), ResourceTypes[typ].Plural, want)
			}
		}
	})
}

func TestServiceManagerIsNotified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.config.Watchdog = 10 * time.Second
		h.start()
		h.advance(35 * time.Second)
		h.find(testPeer(2, liveEndpoint))
		h.stop()
		want := []string{"READY=1", "STATUS=not ready: no source of nodes has answered yet", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STATUS=ready", "WATCHDOG=1", "STOPPING=1"}
		if !slices.Equal(h.notified, want) {
			t.Errorf("notified %v", h.notified)
		}
	})
}

func TestClockNotRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		gone := filepath.Join(t.TempDir(), "gone")
		h.config.Clock = must(state.OpenClock(must(state.Open(gone, nil)), state.ClockConfig{}))
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
		h.start()
		if got := h.condition(state.ConditionClockNotRecorded); !strings.Contains(got, gone+"/clock") {
			t.Errorf("condition = %q", got)
		}
		if got := h.condition(conditionHost); got != "" {
			t.Errorf("the host counts as unknown: %q", got)
		}
		h.stop()
	})
}

func TestClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		last := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
		if err := h.state.Replace("clock", []byte(last)); err != nil {
			t.Fatal(err)
		}
		h.config.Clock = must(state.OpenClock(h.state, state.ClockConfig{Synchronised: func() bool { return false }}))
		h.start()
		if got := h.condition(state.ConditionClockBehind); !strings.Contains(got, "1m0s behind") {
			t.Errorf("condition = %q", got)
		}
		h.advance(2 * time.Minute)
		if got := h.condition(state.ConditionClockBehind); got != "" {
			t.Errorf("condition stays: %q", got)
		}
		h.stop()
	})
}

// A node with a wrong secret is not ready: it is the one that can read nobody. One that can
// read others is, whatever a stranger publishes.
func TestReadyWithAWrongSecret(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		for _, test := range []struct {
			peers  []mesh.Affiliate
			reason string
			ready  bool
		}{
			{nil, discovery.ReasonWrongSecret, false},
			{nil, "the stranger's data cannot be decrypted", true},
			{[]mesh.Affiliate{testPeer(2, liveEndpoint)}, discovery.ReasonWrongSecret, true},
		} {
			h.registry().Show(discovery.Snapshot{Connected: true, Affiliates: test.peers, Problems: []discovery.Problem{{AffiliateID: "x", Reason: test.reason}}})
			synctest.Wait()
			if s := h.agent.Status(); s.Ready != test.ready || s.Ready == strings.Contains(s.NotReady, "secret") {
				t.Errorf("%d peers, %s: ready = %v (%s)", len(test.peers), test.reason, s.Ready, s.NotReady)
			}
		}
	})
}
