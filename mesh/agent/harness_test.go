package agent

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent/agenttest"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// Contents of a test configuration.
const (
	testClusterID = "Zq3vT8kLr0pW5xYb1nCe7sGd4hJf6mAu9oQi2tRzBNU="
	testSecret    = "sH5wPz1kN9cVb3mQx7rTy0uJd2fGa4eLi6oKn8pRsMU="
)

const identityDocuments = `
apiVersion: v1alpha1
kind: DiscoveryIdentityConfig
clusterID: ` + testClusterID + `
clusterSecret: ` + testSecret + `
---
apiVersion: v1alpha1
kind: DiscoveryServiceConfig
name: one
endpoint: https://discovery.example/
`

const meshDocument = `---
apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
---
apiVersion: v1alpha1
kind: WirespanConfig
endpointStrategy: cycle
`

// settings loads documents.
func settings(t *testing.T, docs ...string) *Effective {
	t.Helper()
	c, err := config.Load([]config.File{{Name: "test.yaml", Data: []byte(strings.Join(docs, ""))}}, config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.AnnounceAsMember == nil {
		c.AnnounceAsMember = new(true)
	}
	e := &Effective{Config: c}
	for _, s := range c.Services {
		e.Sources = append(e.Sources, Source{Kind: discovery.KindService, Name: s.Name, Spec: s})
	}
	return e
}

// testPeer is the affiliate of another node.
func testPeer(n byte, endpoints ...string) mesh.Affiliate {
	private := mesh.NewPrivateKey([32]byte{n})
	a := mesh.Affiliate{
		NodeID: mesh.NodeIDFromBytes([32]byte{n}), Nodename: fmt.Sprintf("node-%d", n), Hostname: fmt.Sprintf("node-%d.example", n),
		OperatingSystem: "Talos (v1.14.0)", MachineType: mesh.MachineWorker, PublicKey: private.Public(),
	}
	subnet := mesh.ULA(testClusterID).Addr().As16()
	subnet[15] = n
	a.Address = netip.AddrFrom16(subnet)
	a.Addresses = []netip.Addr{a.Address}
	for _, e := range endpoints {
		a.Endpoints = append(a.Endpoints, netip.MustParseAddrPort(e))
	}
	return a
}

// harness is an agent among fakes. Fields are to be changed before start.
type harness struct {
	t      *testing.T
	config Config
	host   *agenttest.Host
	fw     *agenttest.Firewall
	state  *state.Dir
	log    syncBuffer
	live   []string // endpoints that answer

	agent   *Agent
	ctx     context.Context
	cancel  context.CancelFunc
	exited  chan error
	openErr error

	mu         sync.Mutex
	devices    []*agenttest.Device
	registries []*agenttest.Registry
	named      map[string]*agenttest.Registry // the newest of each name
	reload     func() (*Effective, error)
	notified   []string
}

func newHarness(t *testing.T, docs ...string) *harness {
	t.Helper()
	st, err := state.Open(config.StateMemory, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	clock, err := state.OpenClock(st, state.ClockConfig{Synchronised: func() bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := state.LoadKeys(st, "", hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	sequence, err := state.OpenSequence(st)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, host: agenttest.NewHost(), state: st, exited: make(chan error, 1), named: map[string]*agenttest.Registry{}}
	h.fw = agenttest.NewFirewall()
	h.config = Config{
		Effective: settings(t, append([]string{identityDocuments}, docs...)...), Keys: keys, Clock: clock, Host: h.host,
		Memory: state.OpenMemory(st), Sequence: sequence, Firewall: h.fw,
		Version: "v0.0.0-test", OpenDevice: h.openDevice, NewRegistry: h.newRegistry,
		Reload: func() (*Effective, error) { return h.reload() },
		Notify: func(state string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.notified = append(h.notified, state)
		},
		Log: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &h.log, DisableTime: true}),
	}
	return h
}

func (h *harness) openDevice(mesh.Identity, *Effective, int) (Device, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.openErr != nil {
		return nil, h.openErr
	}
	d := agenttest.NewDevice()
	for _, e := range h.live {
		d.Live[netip.MustParseAddrPort(e)] = true
	}
	h.devices = append(h.devices, d)
	return d, nil
}

func (h *harness) newRegistry(s Source, c *Effective, _ state.Keys) (Registry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := agenttest.NewRegistry(c.ClusterID)
	h.registries = append(h.registries, r)
	h.named[s.Name] = r
	return r, nil
}

// start runs the agent, inside a bubble, until it waits.
func (h *harness) start() {
	h.t.Helper()
	h.run()
	synctest.Wait()
}

func (h *harness) run() {
	h.t.Helper()
	var err error
	if h.agent, err = New(h.config); err != nil {
		h.t.Fatal(err)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	go func() { h.exited <- h.agent.Run(h.ctx) }()
}

// stop ends the agent as SIGTERM does.
func (h *harness) stop() {
	h.t.Helper()
	h.cancel()
	if err := <-h.exited; err != nil {
		h.t.Errorf("Run = %v", err)
	}
}

// advance lets time pass and the agent come to rest.
func (h *harness) advance(d time.Duration) {
	time.Sleep(d) // the bubble's
	synctest.Wait()
}

func (h *harness) device() *agenttest.Device {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.devices[len(h.devices)-1]
}

func (h *harness) registry() *agenttest.Registry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.registries[len(h.registries)-1]
}

// find lets the newest registry show affiliates and the agent take them up.
func (h *harness) find(affiliates ...mesh.Affiliate) {
	h.registry().Find(affiliates...)
	synctest.Wait()
}

func (h *harness) peer(a mesh.Affiliate) PeerView {
	h.t.Helper()
	for _, p := range h.agent.Status().Peers {
		if p.PublicKey == a.PublicKey {
			return p
		}
	}
	h.t.Fatalf("peer %s is not in the status", a.Nodename)
	return PeerView{}
}

func (h *harness) wantPeer(a mesh.Affiliate, state mesh.PeerState, endpoint string) {
	h.t.Helper()
	p := h.peer(a)
	if p.State != state || p.Endpoint.String() != endpoint {
		h.t.Errorf("%s is %s at %s, want %s at %s", a.Nodename, p.State, p.Endpoint, state, endpoint)
	}
}

// condition returns the message of the condition of a type; empty if there is none.
func (h *harness) condition(typ mesh.ConditionType) string {
	for _, c := range h.agent.Status().Conditions {
		if c.Type == typ {
			return c.Message
		}
	}
	return ""
}

func (h *harness) wantLogged(n int, text string) {
	h.t.Helper()
	if got := strings.Count(h.log.String(), text); got != n {
		h.t.Errorf("logged %d times, want %d: %q in\n%s", got, n, text, h.log.String())
	}
}

// syncBuffer is a bytes.Buffer for many goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var errTest = errors.New("test failure")

// otherCluster are documents of another cluster at the same service.
func otherCluster() string {
	id := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	return strings.ReplaceAll(identityDocuments, testClusterID, id)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
