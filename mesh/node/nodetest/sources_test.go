package nodetest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
	"github.com/wirespan/wirespan/mesh/state"
)

// writePeers writes a peers file with these nodes.
func writePeers(t *testing.T, path string, nodes ...*nodetest.Node) {
	t.Helper()
	text := "peers:\n"
	for _, n := range nodes {
		s := n.Status().Node
		links, err := n.Links()
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("- name: %s\n  nodeID: %s\n  publicKey: %s\n  endpoints: [\"%s:%d\"]\n", s.Nodename, s.ID, s.PublicKey, links[0].Addresses[0].Addr(), s.ListenPort)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// keepsPinging pings from each node to the next for a while, and reports what is lost.
func keepsPinging(t *testing.T, what string, d time.Duration, nodes ...*nodetest.Node) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
		for i, n := range nodes {
			other := nodes[(i+1)%len(nodes)]
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := n.Ping(ctx, other.Address(), 56); err != nil {
				t.Fatalf("%s: %s lost a ping to %s: %v", what, n.Name, other.Name, err)
			}
			cancel()
		}
	}
}

// Four sources have each node: two services, a peers file and the cache. Whichever fails or
// is removed, for longer than its entries live, the others keep the mesh.
func TestEachSourceIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		var nodes []*nodetest.Node
		peers := filepath.Join(t.TempDir(), "peers.yaml")
		writePeers(t, peers)
		for i := range 3 {
			b := m.Box()
			b.Settings = "peersFile: " + peers + "\n"
			nodes = append(nodes, m.Boot(b, m.Internet().Host(fmt.Sprintf("192.0.2.%d", i+1)), nodetest.KubeSpan, nodetest.SecondService))
		}
		m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(nodes...) })
		writePeers(t, peers, nodes...)
		wantSources := func(what string, want ...string) {
			t.Helper()
			time.Sleep(time.Minute)
			p, _ := nodes[0].Peer(nodes[1])
			var got []string
			for _, s := range p.Sources {
				if s.Last.IsZero() {
					got = append(got, s.Source)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: a node is known by %v, want %v", what, got, want)
			}
		}
		const long = discovery.MaxTTL + 5*time.Minute
		wantSources("all there", "static", "service/second", "service/hub")
		m.Hub.SetAway(true)
		wantSources("a service away", "static", "service/second")
		keepsPinging(t, "a service away", long, nodes...)
		m.Hub.SetAway(false)
		m.Second.SetAway(true)
		wantSources("the other one away", "static", "service/hub")
		keepsPinging(t, "the other one away", long, nodes...)
		m.Second.SetAway(false)
		writePeers(t, peers)
		wantSources("an empty peers file", "service/second", "service/hub")
		keepsPinging(t, "an empty peers file", long, nodes...)
		for _, n := range nodes {
			if err := os.Remove(filepath.Join(n.Dir, state.CacheFile)); err != nil {
				t.Errorf("the cache: %v", err)
			}
		}
		keepsPinging(t, "without a cache", long, nodes...)
		writePeers(t, peers, nodes...)
		m.Hub.SetAway(true)
		m.Second.SetAway(true)
		wantSources("both services away", "static")
		keepsPinging(t, "both services away", 2*long, nodes...)
	})
}

// No source is left, and then all nodes lose power: they find each other by what they
// remember. Neither do they need a service to be ready, nor do they forget who has left.
func TestAllRebootWithoutDiscovery(t *testing.T) {
	for name, box := range map[string]func(*nodetest.Mesh) nodetest.Box{"own mesh": (*nodetest.Mesh).Member, "with Talos": (*nodetest.Mesh).Box} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := nodetest.New(t)
				var nodes []*nodetest.Node
				for i := range 4 {
					nodes = append(nodes, m.Boot(box(m), m.Internet().Host(fmt.Sprintf("192.0.2.%d", i+1))))
				}
				m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(nodes...) })
				if err := nodes[3].Leave(t.Context()); err != nil {
					t.Fatal(err)
				}
				left := nodes[3]
				nodes = nodes[:3]
				time.Sleep(time.Hour)
				m.Hub.SetAway(true)
				for i, n := range nodes {
					nodes[i].Box = n.Copy(t) // as it is on disk without a last write
				}
				for _, n := range nodes {
					n.Stop()
				}
				time.Sleep(time.Hour)
				for i, n := range nodes {
					nodes[i] = m.Boot(n.Box, n.Host)
				}
				m.Await(5*time.Second, "the mesh is up", func() bool { return nodetest.AllUp(nodes...) })
				for _, n := range nodes {
					if s := n.Status(); !s.Ready {
						t.Errorf("%s is not ready: %s", n.Name, s.NotReady)
					}
					if _, back := n.Peer(left); back {
						t.Errorf("%s has brought back a node that has left", n.Name)
					}
				}
				m.Hub.SetAway(false)
				m.Await(5*time.Minute, "discovery has answered", func() bool { return len(nodes[0].Status().Discovery) == 1 })
				if !nodetest.AllUp(nodes...) {
					t.Error("a peer went down when discovery came back")
				}
			})
		})
	}
}
