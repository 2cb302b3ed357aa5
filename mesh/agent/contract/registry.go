package contract

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// RegistryCase is a registry to test.
type RegistryCase struct {
	Registry agent.Registry
	Self     mesh.Affiliate
	// Join makes another member publish itself in the same cluster.
	Join func(t *testing.T, a mesh.Affiliate)
	// Published returns this node as another member finds it now; false: it doesn't.
	Published func(t *testing.T) (mesh.Affiliate, bool)
}

// Registry tests a source of members.
func Registry(t *testing.T, open func(t *testing.T) RegistryCase) {
	t.Run("nothing is known before Run", func(t *testing.T) {
		c := open(t)
		if s := c.Registry.Snapshot(); s.Connected || len(s.Affiliates) != 0 {
			t.Errorf("Snapshot = %+v", s)
		}
	})

	t.Run("members appear, sorted and without this node", func(t *testing.T) {
		c := open(t)
		stop := runRegistry(t, c)
		defer stop()
		names := []string{"b", "a", "c"}
		for _, name := range names {
			c.Join(t, member(name))
		}
		await(t, c.Registry.Changed(), func() bool { return len(c.Registry.Snapshot().Affiliates) == len(names) })
		s := c.Registry.Snapshot()
		if !s.Connected {
			t.Error("a registry that shows members is not connected")
		}
		if !slices.IsSortedFunc(s.Affiliates, func(a, b mesh.Affiliate) int { return strings.Compare(a.NodeID, b.NodeID) }) {
			t.Error("the members are not sorted by node id")
		}
		for _, a := range s.Affiliates {
			if a.NodeID == c.Self.NodeID {
				t.Error("this node is among the others")
			}
		}
	})

	t.Run("this node is found until it is deleted", func(t *testing.T) {
		c := open(t)
		stop := runRegistry(t, c)
		found := func() bool {
			a, ok := c.Published(t)
			return ok && a.Hostname == c.Self.Hostname
		}
		await(t, c.Registry.Changed(), found)
		stop() // Delete is called when Run has returned
		ctx, cancel := context.WithTimeout(t.Context(), Timeout)
		defer cancel()
		if err := c.Registry.Delete(ctx, mesh.Affiliate{}); err != nil {
			t.Fatalf("Delete = %v", err)
		}
		await(t, nil, func() bool {
			_, ok := c.Published(t)
			return !ok
		})
	})
}

// runRegistry publishes this node and runs the registry until stop is called.
func runRegistry(t *testing.T, c RegistryCase) (stop func()) {
	t.Helper()
	c.Registry.Publish(discovery.Local{Affiliate: c.Self})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Registry.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run = %v, although it was only cancelled", err)
			}
		case <-time.After(Timeout):
			t.Fatal("Run has not returned")
		}
	}
}

// Member returns an affiliate by a name that gives it its node id.
func member(name string) mesh.Affiliate {
	private := mesh.NewPrivateKey([32]byte{name[0]})
	return mesh.Affiliate{
		NodeID: mesh.NodeIDFromBytes([32]byte{name[0]}), Nodename: name, Hostname: name,
		MachineType: mesh.MachineWorker, PublicKey: private.Public(),
	}
}

// await waits until holds does, looking again at each signal and every now and then.
func await(t *testing.T, changed <-chan struct{}, holds func() bool) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(Timeout)
	for !holds() {
		select {
		case <-changed:
		case <-poll.C:
		case <-deadline:
			t.Fatal("it never happened")
		}
	}
}
