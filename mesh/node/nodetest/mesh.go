package nodetest

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/node"
	"github.com/wirespan/wirespan/mesh/state"
)

// Documents for [Mesh.Start].
const (
	// KubeSpan turns the mesh on.
	KubeSpan = "apiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: true\n"
	// Harvest does so, too, and makes nodes publish where they reach others.
	Harvest = KubeSpan + "harvestExtraEndpoints: true\n"
	// SecondService is a discovery service beside that of all nodes.
	SecondService = "apiVersion: v1alpha1\nkind: DiscoveryServiceConfig\nname: second\nendpoint: https://second.example/\n"
)

// What all nodes have in common.
const (
	clusterID     = "Zq3vT8kLr0pW5xYb1nCe7sGd4hJf6mAu9oQi2tRzBNU="
	clusterSecret = "sH5wPz1kN9cVb3mQx7rTy0uJd2fGa4eLi6oKn8pRsMU="
)

const clusterDocuments = `apiVersion: v1alpha1
kind: DiscoveryIdentityConfig
clusterID: ` + clusterID + `
clusterSecret: ` + clusterSecret + `
---
apiVersion: v1alpha1
kind: DiscoveryServiceConfig
name: hub
endpoint: https://hub.example/
`

const nodeDocument = `apiVersion: v1alpha1
kind: WirespanConfig
backend: netstack
leaveOnStop: false
announceAsMember: true
hostname: %s
stateDir: %s
%s`

// Mesh is a network with a discovery service, and the nodes on it.
type Mesh struct {
	*Router
	Hub    *Hub
	Second *Hub // of nodes with the document [SecondService]

	t     *testing.T
	nodes int // started so far
}

// New returns a mesh without nodes. It must be called in a bubble of
// testing/synctest; what is started in it ends with the test.
func New(t *testing.T) *Mesh {
	return &Mesh{Router: NewRouter(1), Hub: newHub(), Second: newHub(), t: t}
}

// Node is a running node.
type Node struct {
	*agent.Agent
	*Host
	Box

	mesh    *Mesh
	started time.Time
	cancel  context.CancelFunc
	ended   chan error // nil: it was stopped
}

// Start starts a node on a host, and returns when it has come to rest. The documents
// add to those that give it a name and make it a member of the cluster. Without any,
// [KubeSpan] is added. The node keeps its state in memory, and does not leave the mesh
// when it stops.
func (m *Mesh) Start(h *Host, documents ...string) *Node {
	m.t.Helper()
	return m.Boot(Box{Name: m.name(), Dir: config.StateMemory}, h, documents...)
}

// Boot starts a node as Start does, with the name and the state of a box.
func (m *Mesh) Boot(b Box, h *Host, documents ...string) *Node {
	m.t.Helper()
	n := &Node{Host: h, Box: b, mesh: m, started: time.Now(), ended: make(chan error, 1)}
	if len(documents) == 0 {
		documents = []string{KubeSpan}
	}
	documents = append(documents, fmt.Sprintf(nodeDocument, n.Name, n.Dir, n.Settings))
	if !b.own {
		documents = append(documents, clusterDocuments)
	}
	c, err := config.Load([]config.File{{Name: n.Name, Data: []byte(strings.Join(documents, "---\n"))}}, config.Options{ClusterProvided: b.own})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	opened, err := node.Open(ctx, node.Config{Config: c, Machine: m.machine(h), Version: "v0.0.0-test", Log: m.log(n.Name)})
	if err != nil {
		m.t.Fatal(err)
	}
	n.Agent, n.cancel = opened.Agent(), cancel
	go func() { n.ended <- opened.Run(ctx) }()
	m.t.Cleanup(n.Stop)
	synctest.Wait()
	return n
}

// machine returns what a node uses of its host.
func (m *Mesh) machine(h *Host) node.Machine {
	return node.Machine{
		Host:    h,
		NewBind: func(hclog.Logger) device.Bind { return NewBind(h) },
		NewStack: func(address netip.Addr, mtu int) (node.Stack, error) {
			return NewStack(address, mtu), nil
		},
		NewRegistry: func(s agent.Source, e *agent.Effective, keys state.Keys) (agent.Registry, error) {
			if s.Name == "second" {
				return m.Second.client(h, e, keys), nil
			}
			return m.Hub.client(h, e, keys), nil
		},
		Dial:  h.Dial,
		Proxy: func(string) (*url.URL, error) { return nil, nil },
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			return nil, fmt.Errorf("%s: there are no names in this network", host)
		},
		NoSockets: true,
	}
}

// log returns a node's log, which `go test -v` shows.
func (m *Mesh) log(name string) hclog.Logger {
	level := hclog.Off
	if testing.Verbose() {
		level = hclog.Info
	}
	return keeper{hclog.New(&hclog.LoggerOptions{Name: name, Level: level, Output: m.t.Output(), TimeFormat: "15:04:05.000"})}
}

// Stop ends the node as a crash or SIGTERM does: the others still know it. The end of
// the test stops it, too.
func (n *Node) Stop() {
	n.mesh.t.Helper()
	if n.ended == nil {
		return
	}
	n.cancel()
	if err := <-n.ended; err != nil {
		n.mesh.t.Errorf("%s: %v", n.Name, err)
	}
	n.ended = nil
}

// Peer returns how n sees another node, and whether that is its peer.
func (n *Node) Peer(other *Node) (agent.PeerView, bool) {
	for _, p := range n.Status().Peers {
		if p.Label == other.Name {
			return p, true
		}
	}
	return agent.PeerView{}, false
}

// Up reports whether another node is up, as n sees it, and they have had a handshake since
// the other one started. Until then n sends in the session with the process before, of
// which the other one has no keys: it is up in its status, but what is sent to it is lost.
func (n *Node) Up(other *Node) bool {
	p, _ := n.Peer(other)
	return p.State == mesh.PeerStateUp && p.LastHandshake.After(other.started)
}

// Address returns the node's address in the mesh.
func (n *Node) Address() netip.Addr { return n.Status().Node.Address }

// pingTimeout is longer than it takes to begin a session.
const pingTimeout = 20 * time.Second

// Reaches reports whether another node answers a ping through the mesh within 20 s.
func (n *Node) Reaches(other *Node) bool {
	ctx, cancel := context.WithTimeout(n.mesh.t.Context(), pingTimeout)
	defer cancel()
	_, err := n.Ping(ctx, other.Address(), 56)
	return err == nil
}

// AllUp reports whether each of the nodes sees all the others up, as [Node.Up] does.
func AllUp(nodes ...*Node) bool {
	for _, n := range nodes {
		for _, other := range nodes {
			if n != other && !n.Up(other) {
				return false
			}
		}
	}
	return true
}

// Await lets time pass until a condition holds, and fails the test if that takes
// longer than limit.
func (m *Mesh) Await(limit time.Duration, what string, condition func() bool) {
	m.t.Helper()
	m.await(10*time.Millisecond, limit, what, condition)
}

// AwaitExactly is Await that looks each millisecond.
func (m *Mesh) AwaitExactly(limit time.Duration, what string, condition func() bool) {
	m.t.Helper()
	m.await(time.Millisecond, limit, what, condition)
}

func (m *Mesh) await(step, limit time.Duration, what string, condition func() bool) {
	m.t.Helper()
	for end := time.Now().Add(limit); !condition(); time.Sleep(step) {
		if !time.Now().Before(end) {
			m.t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
