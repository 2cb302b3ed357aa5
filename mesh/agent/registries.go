package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// leaveTimeout bounds the deletion of this node from every service.
const leaveTimeout = 10 * time.Second

const conditionRegistry mesh.ConditionType = "DiscoveryFailed"

// sources are the registries in use.
type sources struct {
	running    map[string]*runningRegistry // by name
	changed    mesh.Signal                 // a snapshot did
	answered   bool                        // one that other nodes publish to has, since the start, or there is none
	unreadable bool                        // a source has nothing that the secret opens, but others' data
	unknown    bool                        // one with static peers has no good file
	found      []discovery.Source          // what they had in the last pass, the cache included
	public     []netip.Addr                // this host's addresses as they see it
	problems   []mesh.Condition            // with what they have
	forgetting sync.WaitGroup              // deletions under way at sources that are no longer used
}

// runningRegistry is a registry with its goroutines.
type runningRegistry struct {
	Registry
	name     string
	identity registryIdentity
	kind     discovery.Kind
	former   bool // see Source
	answered bool // it has answered completely
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

// registryIdentity is what a registry was made of. A registry whose identity
// changes is replaced.
type registryIdentity struct {
	Spec      any
	Secret    mesh.Secret
	ClusterID string
}

func (a *Agent) identityOf(s Source) registryIdentity {
	return registryIdentity{s.Spec, s.Secret, a.config.ClusterID}
}

// syncRegistries starts and stops registries until those that run are those that
// are configured.
func (a *Agent) syncRegistries() []mesh.Condition {
	var failed []mesh.Condition
	forgotten := a.retire()
	for _, s := range a.config.Sources {
		if r, ok := a.sources.running[s.Name]; ok {
			r.former = s.Former
		} else if err := a.startRegistry(s, forgotten); err != nil {
			failed = append(failed, mesh.Condition{Type: conditionRegistry, Subject: s.Name, Message: err.Error()})
		}
	}
	return failed
}

// retire keeps the registries that are configured, whose names may have changed. It stops
// the others and deletes this node there, since it has moved. It closes forgotten when that
// is done.
func (a *Agent) retire() (forgotten <-chan struct{}) {
	before := a.sources.running
	a.sources.running = make(map[string]*runningRegistry, len(a.config.Sources))
	keep := func(as string, of string, id registryIdentity) {
		if r, ok := before[of]; ok && a.sources.running[as] == nil && reflect.DeepEqual(r.identity, id) {
			a.sources.running[as], r.name = r, as
			delete(before, of)
		}
	}
	for _, s := range a.config.Sources {
		keep(s.Name, s.Name, a.identityOf(s))
	}
	for _, s := range a.config.Sources {
		for name := range before {
			keep(s.Name, name, a.identityOf(s))
		}
	}
	done := make(chan struct{})
	var deleting sync.WaitGroup
	for _, r := range before {
		r.stop()
		var last mesh.Affiliate
		if r.identity.ClusterID != a.config.ClusterID { // this node has left that mesh
			last = a.lastRecord()
		}
		deleting.Go(func() { a.forget(r, last) })
	}
	a.sources.forgetting.Go(func() {
		deleting.Wait()
		close(done)
	})
	return done
}

// startRegistry makes a registry, which starts once the former entries are
// deleted: at the same server, a late deletion would hit the new entry.
func (a *Agent) startRegistry(s Source, forgotten <-chan struct{}) error {
	r, err := a.cfg.NewRegistry(s, a.config, a.cfg.Keys)
	if err != nil {
		return fmt.Errorf("%s: %w", titleOf(s.Kind, s.Name), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &runningRegistry{Registry: r, name: s.Name, identity: a.identityOf(s), kind: s.Kind, former: s.Former, cancel: cancel}
	run.done.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-forgotten:
		}
		if err := r.Run(ctx); err != nil {
			a.log.Error("discovery client stopped", "service", s.Name, "error", err)
		}
	})
	run.done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.Changed():
			}
			a.sources.changed.Notify()
		}
	})
	a.sources.running[s.Name] = run
	return nil
}

func (a *Agent) stopRegistry(r *runningRegistry) {
	r.stop()
	delete(a.sources.running, r.name)
}

func (r *runningRegistry) stop() {
	r.cancel()
	r.done.Wait()
}

// registries returns those that run, sorted by name.
func (a *Agent) registries() []*runningRegistry {
	list := slices.Collect(maps.Values(a.sources.running))
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}

// shown returns what a registry shows now.
func (r *runningRegistry) shown() *discovery.Snapshot {
	s := r.Snapshot()
	return &s
}

// forget deletes this node from a service that is no longer configured.
func (a *Agent) forget(r *runningRegistry, last mesh.Affiliate) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	err := r.Delete(ctx, last)
	if errors.Is(err, discovery.ErrRefused) { // the mesh has another name there now
		a.log.Debug("our entry at the former discovery service", "service", r.name, "error", err)
	} else if err != nil {
		a.log.Warn("our entry at the former discovery service could not be deleted: "+remains(r.kind),
			"service", r.name, "error", err)
	}
}

// leave deletes this node from every service, or leaves there a signed statement that it
// has left: with it, other nodes need not hold its networks.
func (a *Agent) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	last := a.lastRecord()
	registries := a.registries()
	errs := make([]error, len(registries))
	var deleting sync.WaitGroup
	for i, r := range registries {
		a.stopRegistry(r) // else a late refresh would publish it again
		deleting.Go(func() {
			if err := r.Delete(ctx, last); err != nil {
				errs[i] = fmt.Errorf("deleting this node from %s: %w (%s)", titleOf(r.kind, r.name), err, remains(r.kind))
			}
		})
	}
	deleting.Wait()
	return errors.Join(errs...)
}

// publish signs this node's affiliate and hands it, with where this node sees others, to
// every registry. At first it waits for what discovery has: that may be a record of this
// node, which must not be replaced unseen. A node that has withdrawn publishes nothing.
func (a *Agent) publish(plan *mesh.Plan, now time.Time) error {
	var local discovery.Local
	var unwritten error
	if !a.withdrawn() {
		if a.signs() && !a.sources.answered && now.Sub(a.started) < trialTime {
			return nil
		}
		if at := a.record.answerAt; now.Before(at) {
			plan.WakeAt(at)
			return nil
		}
		unwritten = a.sign(&plan.Local, now)
		local = discovery.Local{Affiliate: plan.Local, Others: plan.Endpoints}
	}
	for _, r := range a.sources.running {
		r.Publish(local)
	}
	return unwritten
}

// redial has registries connect anew after addresses or default routes have changed: those
// that are not connected, and those whose connection may have broken.
func (a *Agent) redial() {
	if !a.host.redial {
		return
	}
	for _, r := range a.sources.running {
		if s := r.shown(); !s.Connected || a.host.severed.to(s.ServerAddr) {
			r.Moved()
		}
	}
	a.host.redial, a.host.severed = false, severed{}
}
