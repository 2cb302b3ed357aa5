package agenttest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// Registry is a discovery service in memory.
type Registry struct {
	ClusterID string // of the settings that it was made for
	changed   mesh.Signal

	mu        sync.Mutex
	snap      discovery.Snapshot
	published []discovery.Local // without repetitions
	running   bool
	stopped   bool
	deleted   int
	moved     int
	DeleteErr error
	Deleting  chan struct{} // Delete waits for it; nil: it doesn't
}

// NewRegistry returns a registry that shows nothing and is not connected.
func NewRegistry(clusterID string) *Registry {
	return &Registry{ClusterID: clusterID, changed: mesh.NewSignal()}
}

// Run waits for its end.
func (r *Registry) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.stopped = false, true
	return nil
}

// Publish notes what was published.
func (r *Registry) Publish(l discovery.Local) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = append(r.published, l)
}

// Moved counts its calls.
func (r *Registry) Moved() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved++
}

// Moves returns how often Moved was called.
func (r *Registry) Moves() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

// Changed signals each Show.
func (r *Registry) Changed() <-chan struct{} { return r.changed }

// Snapshot returns what is shown.
func (r *Registry) Snapshot() discovery.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snap
}

// Delete counts, and waits for Deleting if there is one. It fails while Run does not end.
func (r *Registry) Delete(ctx context.Context, _ mesh.Affiliate) error {
	r.mu.Lock()
	wait := r.Deleting
	r.mu.Unlock()
	if wait != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		return errors.New("deleted while the client runs")
	}
	r.deleted++
	return r.DeleteErr
}

// Find makes the service show these affiliates.
func (r *Registry) Find(affiliates ...mesh.Affiliate) {
	affiliates = slices.SortedFunc(slices.Values(affiliates), func(a, b mesh.Affiliate) int { return strings.Compare(a.NodeID, b.NodeID) })
	r.Show(discovery.Snapshot{Affiliates: affiliates, Connected: true, Server: "discovery.example:443"})
}

// Show replaces what the registry shows.
func (r *Registry) Show(s discovery.Snapshot) {
	r.mu.Lock()
	r.snap = s
	r.mu.Unlock()
	r.changed.Notify()
}

// Last returns what was published last.
func (r *Registry) Last() discovery.Local {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.published) == 0 {
		return discovery.Local{}
	}
	return r.published[len(r.published)-1]
}

// State returns whether the registry runs, and how often this node was deleted.
func (r *Registry) State() (running bool, deleted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running, r.deleted
}
