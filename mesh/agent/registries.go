package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// leaveTimeout bounds the deletion of our affiliate from every service.
const leaveTimeout = 10 * time.Second

const conditionRegistry mesh.ConditionType = "DiscoveryFailed"

// runningRegistry is a discovery client with its goroutine.
type runningRegistry struct {
	Registry
	identity registryIdentity
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

// registryIdentity is everything that makes a new client necessary when it changes.
type registryIdentity struct {
	Source    Source
	ClusterID string
	Secret    [mesh.KeySize]byte
}

// syncRegistries makes the running clients be those that are configured.
func (a *Agent) syncRegistries() []mesh.Condition {
	var failed []mesh.Condition
	wanted := map[string]registryIdentity{}
	for _, s := range a.config.Sources {
		wanted[s.Name] = registryIdentity{s, a.config.ClusterID, a.config.ClusterSecret.Reveal()}
	}
	forgotten := a.retire(wanted)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := a.registries[name]; ok {
			continue
		}
		if err := a.startRegistry(wanted[name], forgotten); err != nil {
			failed = append(failed, mesh.Condition{Type: conditionRegistry, Subject: name, Message: err.Error()})
		}
	}
	return failed
}

// retire stops the clients that are not wanted as they are. Our entry there is
// deleted, since the node has moved and must not linger; forgotten is closed
// when that is done.
func (a *Agent) retire(wanted map[string]registryIdentity) (forgotten <-chan struct{}) {
	done := make(chan struct{})
	var deleting sync.WaitGroup
	for name, r := range a.registries {
		if w, ok := wanted[name]; ok && reflect.DeepEqual(w, r.identity) {
			continue
		}
		a.stopRegistry(name)
		deleting.Go(func() { a.forget(r) })
	}
	a.forgetting.Go(func() {
		deleting.Wait()
		close(done)
	})
	return done
}

// startRegistry starts a client once the former entries are gone: at the same
// server, a late deletion would hit the new entry.
func (a *Agent) startRegistry(id registryIdentity, forgotten <-chan struct{}) error {
	r, err := a.cfg.NewRegistry(id.Source, a.config, a.self.NodeID)
	if err != nil {
		return fmt.Errorf("discovery service %s: %w", id.Source.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &runningRegistry{Registry: r, identity: id, cancel: cancel}
	run.done.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-forgotten:
		}
		if err := r.Run(ctx); err != nil {
			a.log.Error("discovery client stopped", "service", id.Source.Name, "error", err)
		}
	})
	run.done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.Changed():
			}
			select {
			case a.discoveries <- struct{}{}:
			default:
			}
		}
	})
	a.registries[id.Source.Name] = run
	return nil
}

func (a *Agent) stopRegistry(name string) {
	r := a.registries[name]
	r.cancel()
	r.done.Wait()
	delete(a.registries, name)
}

func (a *Agent) registryNames() []string { return slices.Sorted(maps.Keys(a.registries)) }

// forget deletes our affiliate from a service that is no longer configured.
func (a *Agent) forget(r *runningRegistry) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := r.Delete(ctx); err != nil {
		a.log.Warn("our entry at the former discovery service could not be deleted, it expires by itself",
			"service", r.identity.Source.Name, "error", err)
	}
}

// leave deletes our affiliate from every service.
func (a *Agent) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	names := a.registryNames()
	errs := make([]error, len(names))
	var deleting sync.WaitGroup
	for i, name := range names {
		r := a.registries[name]
		a.stopRegistry(name) // else a late refresh would publish it again
		deleting.Go(func() {
			if err := r.Delete(ctx); err != nil {
				errs[i] = fmt.Errorf("deleting this node from discovery service %s: %w (it expires by itself within %s)",
					name, err, discovery.MaxTTL)
			}
		})
	}
	deleting.Wait()
	return errors.Join(errs...)
}
