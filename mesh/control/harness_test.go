package control

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/agent/agenttest"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

const testClusterID = "Zq3vT8kLr0pW5xYb1nCe7sGd4hJf6mAu9oQi2tRzBNU="

const testDocuments = `
apiVersion: v1alpha1
kind: DiscoveryIdentityConfig
clusterID: ` + testClusterID + `
clusterSecret: sH5wPz1kN9cVb3mQx7rTy0uJd2fGa4eLi6oKn8pRsMU=
---
apiVersion: v1alpha1
kind: DiscoveryServiceConfig
name: one
endpoint: https://discovery.example/
---
apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
`

var errTest = errors.New("test failure")

// harness is a running agent on an in-memory device, registry and host.
type harness struct {
	t      *testing.T
	agent  *agent.Agent
	cancel context.CancelFunc
	exited chan error
	keys   state.Keys

	mu       sync.Mutex
	reload   func() (*agent.Effective, error)
	device   *agenttest.Device
	registry *agenttest.Registry
}

func testSettings(t *testing.T, more string) *agent.Effective {
	t.Helper()
	c, err := config.Load([]config.File{{Name: "test.yaml", Data: []byte(testDocuments + more)}}, config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	member := true
	c.AnnounceAsMember = &member
	return &agent.Effective{Config: c, Sources: []agent.Source{{Name: "one"}}}
}

// run starts an agent. It may be used inside a synctest bubble.
func run(t *testing.T) *harness {
	t.Helper()
	st := must(state.Open(config.StateMemory, nil))
	keys := must(state.LoadKeys(st, "", nil))
	h := &harness{t: t, keys: keys, exited: make(chan error, 1), device: agenttest.NewDevice()}
	h.agent = must(agent.New(agent.Config{
		Effective: testSettings(t, ""), Keys: keys,
		Clock: must(state.OpenClock(st, state.ClockConfig{})), Memory: state.OpenMemory(st), Sequence: must(state.OpenSequence(st)), Host: agenttest.NewHost(),
		Version:    "v0.0.0-test",
		OpenDevice: func(mesh.Identity, *agent.Effective, int) (agent.Device, error) { return h.device, nil },
		NewRegistry: func(_ agent.Source, c *agent.Effective, _ state.Keys) (agent.Registry, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.registry = agenttest.NewRegistry(c.ClusterID)
			return h.registry, nil
		},
		Reload: func() (*agent.Effective, error) { return h.reload() },
	}))
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.exited <- h.agent.Run(ctx) }()
	h.until(func(s *agent.Status) bool { return s.Updated.After(s.Started) }) // the first pass is done
	return h
}

func (h *harness) stop() {
	h.t.Helper()
	h.cancel()
	if err := <-h.exited; err != nil {
		h.t.Errorf("Run = %v", err)
	}
}

// found returns the registry, once the first pass has made it.
func (h *harness) found() *agenttest.Registry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.registry
}

// until waits for a status.
func (h *harness) until(holds func(*agent.Status) bool) {
	h.t.Helper()
	for s := h.agent.Status(); !holds(s); s = h.agent.Status() {
		select {
		case <-s.Changed():
		case <-h.t.Context().Done():
			h.t.Fatal("the status never became as expected")
		}
	}
}

// up makes a peer that is up.
func (h *harness) up() mesh.Affiliate {
	p := testPeer()
	h.found().Find(p)
	h.until(func(s *agent.Status) bool { return len(s.Peers) == 1 })
	h.device.Handshake(p.PublicKey, p.Endpoints[0])
	h.until(func(s *agent.Status) bool { return s.Peers[0].State == mesh.PeerStateUp })
	return p
}

// testPeer is the affiliate of another node.
func testPeer() mesh.Affiliate {
	private := mesh.NewPrivateKey([32]byte{2})
	address := mesh.ULA(testClusterID).Addr().As16()
	address[15] = 2
	return mesh.Affiliate{
		NodeID: mesh.NodeIDFromBytes([32]byte{2}), Nodename: "node-2", Hostname: "node-2.example",
		OperatingSystem: "Talos (v1.14.0)", MachineType: mesh.MachineWorker, PublicKey: private.Public(),
		Address: netip.AddrFrom16(address), Addresses: []netip.Addr{netip.AddrFrom16(address)},
		Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:51820")},
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
