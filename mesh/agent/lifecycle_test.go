package agent

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent/agenttest"
	"github.com/wirespan/wirespan/mesh/state"
)

func TestNewRequires(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty Config is accepted")
	}
}

func TestStopKeepsAffiliate(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.stop()
		if running, deleted := h.registry().State(); running || deleted != 0 {
			t.Errorf("after a stop: running %v, deleted %d times", running, deleted)
		}
		if !h.device().Closed {
			t.Error("the device is open")
		}
	})
}

func TestLeaveOnStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.config.LeaveOnStop = func(*Effective) bool { return true }
		h.start()
		h.registry().DeleteErr = errTest
		h.stop()
		if running, deleted := h.registry().State(); running || deleted != 1 {
			t.Errorf("after a stop: running %v, deleted %d times", running, deleted)
		}
		h.wantLogged(1, "leaving: error=\"deleting this node from discovery service one: "+errTest.Error())
	})
}

const secondService = `---
apiVersion: v1alpha1
kind: DiscoveryServiceConfig
name: two
endpoint: https://other.example/
`

// Leaving reaches every service, whatever becomes of the others, and ends the
// agent even so.
func TestLeave(t *testing.T) {
	bubble(t, []string{meshDocument, secondService}, func(h *harness) {
		hanging := make(chan struct{})
		h.registries[0].Deleting = hanging // never answers
		err := h.agent.Leave(h.t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "discovery service one") || strings.Contains(err.Error(), "service two") {
			t.Errorf("Leave = %v", err)
		}
		if err := <-h.exited; err != nil {
			t.Errorf("Run = %v", err)
		}
		h.cancel()
		if running, deleted := h.registries[1].State(); running || deleted != 1 {
			t.Errorf("the other service: running %v, deleted %d times", running, deleted)
		}
		if err := h.agent.Leave(h.t.Context()); err == nil || !strings.Contains(err.Error(), "has stopped") {
			t.Errorf("leaving again = %v", err)
		}
	})
}

// A port that this process may not have waits for a restart; the rest applies.
// pooled puts a buffer into a pool, and keeps no reference to it.
func pooled(pool *sync.Pool) weak.Pointer[[1 << 20]byte] {
	buffer := new([1 << 20]byte)
	pool.Put(buffer)
	return weak.Make(buffer)
}

// What a closed device held in pools is given back.
func TestClosedDeviceIsCollected(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		var pool sync.Pool
		freed := pooled(&pool)
		close(h.device().Gone)
		synctest.Wait()
		if len(h.devices) != 2 {
			t.Fatalf("%d devices were opened", len(h.devices))
		}
		if freed.Value() != nil {
			t.Error("a pooled buffer outlives its device")
		}
		runtime.KeepAlive(&pool)
	})
}

// Another cluster: another address, and the old entry is gone before the new
// one is published, which may be at the same server.
func TestReloadClusterID(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find(testPeer(2, liveEndpoint))
		before, old := h.agent.Status().Node.Address, h.registry()
		old.Deleting = make(chan struct{})
		h.reload = func() (*Effective, error) { return settings(t, otherCluster(), meshDocument), nil }
		if _, err := h.agent.Reload(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		fresh := h.registry()
		if running, _ := fresh.State(); running || fresh == old {
			t.Error("the new client runs before the old entry is deleted")
		}
		close(old.Deleting)
		synctest.Wait()
		if running, deleted := old.State(); running || deleted != 1 {
			t.Errorf("former service: running %v, deleted %d times", running, deleted)
		}
		if running, deleted := fresh.State(); !running || deleted != 0 || fresh.ClusterID == testClusterID {
			t.Errorf("new service: running %v, deleted %d times, cluster %.8s", running, deleted, fresh.ClusterID)
		}
		s := h.agent.Status()
		if s.Node.Address == before || len(s.Peers) != 0 || s.Cluster != fresh.ClusterID[:8] {
			t.Errorf("status = %+v", s)
		}
		dev := h.device()
		dev.With(func() {
			if len(h.devices) != 1 || len(dev.Addresses) != 1 || dev.Addresses[0].Addr() != s.Node.Address {
				t.Errorf("%d devices, addresses %v, want %v", len(h.devices), dev.Addresses, s.Node.Address)
			}
		})
		if got := fresh.Last().Affiliate.Address; got != s.Node.Address {
			t.Errorf("published address %v, want %v", got, s.Node.Address)
		}
	})
}

// A stop does not wait for a former service that hangs longer than it must.
func TestStopWhileForgetting(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.registry().Deleting = make(chan struct{})
		h.reload = func() (*Effective, error) { return settings(t, otherCluster(), meshDocument), nil }
		if _, err := h.agent.Reload(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until it hangs
		started := time.Now()
		h.stop()
		if took := time.Since(started); took > leaveTimeout {
			t.Errorf("stopping took %s", took)
		}
		h.wantLogged(1, "our entry at the former discovery service could not be deleted")
	})
}

func TestReloadLive(t *testing.T) {
	const doc = `---
apiVersion: v1alpha1
kind: WirespanConfig
listenPort: 4000
nodename: renamed
mac: 02:00:00:00:00:07
stateDir: /elsewhere
backend: netstack
`
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find(testPeer(2, liveEndpoint))
		h.advance(time.Second)
		first := h.agent.Status().Node
		h.reload = func() (*Effective, error) {
			return settings(t, identityDocuments, strings.Replace(meshDocument, "enabled: true", "enabled: true\nmtu: 1300", 1), doc), nil
		}
		restart, err := h.agent.Reload(h.t.Context())
		if err != nil || !slices.Equal(restart, []string{"backend", "stateDir"}) {
			t.Errorf("Reload = %v, %v; want backend and stateDir to wait", restart, err)
		}
		synctest.Wait()
		n := h.agent.Status().Node
		if n.ListenPort != 4000 || n.Nodename != "renamed" || n.MTU != 1300 || !strings.HasSuffix(n.Address.String(), ":0:ff:fe00:7") {
			t.Errorf("node = %+v", n)
		}
		dev := h.device()
		dev.With(func() {
			if dev.Touched != 1 {
				t.Errorf("the peer was touched %d times, want once", dev.Touched)
			}
		})

		// All back: the address is the host's again.
		h.reload = func() (*Effective, error) { return settings(t, identityDocuments, meshDocument), nil }
		if restart, err := h.agent.Reload(h.t.Context()); err != nil || len(restart) != 0 {
			t.Errorf("Reload = %v, %v", restart, err)
		}
		synctest.Wait()
		if n := h.agent.Status().Node; n != first {
			t.Errorf("node = %+v, want %+v", n, first)
		}
	})
}

func TestReloadSecret(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, liveEndpoint)
		h.find(p)
		other := strings.ReplaceAll(identityDocuments, testSecret, strings.ToUpper(testSecret))
		h.reload = func() (*Effective, error) { return settings(t, other, meshDocument), nil }
		if _, err := h.agent.Reload(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.find(p)
		dev := h.device()
		dev.With(func() {
			if got := dev.Peers[p.PublicKey].PresharedKey.RevealBase64(); got != strings.ToUpper(testSecret) {
				t.Error("the peer has the former preshared key")
			}
		})
	})
}

func TestReloadTurnsMeshOffAndOn(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find(testPeer(2, liveEndpoint))
		h.reload = func() (*Effective, error) { return settings(t, identityDocuments), nil }
		if _, err := h.agent.Reload(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		first := h.device()
		if s := h.agent.Status(); !first.Closed || s.Enabled || len(s.Peers) != 0 || len(h.registries) != 1 {
			t.Errorf("closed %v, status %+v", first.Closed, s)
		}
		h.reload = func() (*Effective, error) { return settings(t, identityDocuments, meshDocument), nil }
		if _, err := h.agent.Reload(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.advance(agenttest.RoundTrip)
		if h.device() == first {
			t.Fatal("no new device")
		}
		h.wantPeer(testPeer(2), mesh.PeerStateUp, liveEndpoint)
	})
}

// A service that can't be used is a condition, and does not harm the others.
func TestRegistryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument, secondService)
		h.config.NewRegistry = func(s Source, c *Effective, keys state.Keys) (Registry, error) {
			if s.Name == "one" {
				return nil, errTest
			}
			return h.newRegistry(s, c, keys)
		}
		h.start()
		h.advance(10 * mesh.ReconcileInterval)
		if got := h.condition(conditionRegistry); got != "discovery service one: "+errTest.Error() {
			t.Errorf("condition = %q", got)
		}
		h.wantLogged(1, "condition="+string(conditionRegistry))
		h.registry().Show(discovery.Snapshot{Connected: true})
		synctest.Wait()
		if s := h.agent.Status(); !s.Ready || len(s.Discovery) != 1 {
			t.Errorf("not ready: %q, discovery %+v", s.NotReady, s.Discovery)
		}
		h.stop()
	})
}
