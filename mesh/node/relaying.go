//go:build !edge

package node

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// conditionRelaying reports that this node relays for nobody, though it is to, or not by every way.
const conditionRelaying mesh.ConditionType = "RelayNotOffered"

// Times of a relay.
const (
	// relayCheck is how often the relay is looked at without a reason: the port of the device may
	// have changed, or one that was taken may be free.
	relayCheck = 10 * time.Second
	// formerKeyTime is for how long the mesh's former secret is still taken: members hear at
	// different times that the change is over.
	formerKeyTime = time.Minute
)

// relaying relays for members of the mesh. It is an agent.Relaying. Its server is made anew when
// addresses, ports or settings change, and stays when members do.
type relaying struct {
	secrets *relaySecrets
	device  func() *device.Device // the one that was opened last; nil: there is none
	founder func() *embeddedServer
	mark    uint32
	log     hclog.Logger
	wake    mesh.Signal
	changed mesh.Signal

	members atomic.Pointer[map[string]server.Member] // by relay.User
	own     atomic.Pointer[map[netip.Addr]struct{}]  // addresses of this host
	streams atomic.Pointer[streams]                  // of a founder's port; nil: none are taken

	mu         sync.Mutex // guards what follows
	service    mesh.RelayService
	asked      bool // Set was called
	serving    *serving
	conditions []mesh.Condition
	past       map[string]mesh.RelayUsage // by member: what servers counted that have ended

	// Owned by the goroutines that authenticate, under their own lock.
	keyring keyring
}

var _ agent.Relaying = (*relaying)(nil)

// newRelaying makes the node's relay, which serves once the loop says for whom.
func (n *Node) newRelaying() {
	n.relaying = &relaying{
		secrets: &n.relaySecrets, mark: n.mark, log: n.log.Named("relay"), wake: mesh.NewSignal(), changed: mesh.NewSignal(),
		device: func() *device.Device { return n.plane.current() }, founder: func() *embeddedServer { return n.server },
		past: map[string]mesh.RelayUsage{},
	}
	n.relaying.members.Store(&map[string]server.Member{})
	n.relaying.own.Store(&map[netip.Addr]struct{}{})
}

// attach makes the loop know the relay.
func (r *relaying) attach(c *agent.Config) { c.Relaying = r }

// Set implements agent.Relaying.
func (r *relaying) Set(s mesh.RelayService) {
	members := make(map[string]server.Member, len(s.Members))
	for _, m := range s.Members {
		members[relay.User(m.NodeID)] = server.Member{Name: m.Name, Key: m.Key}
	}
	r.members.Store(&members)
	r.mu.Lock()
	r.service, r.asked = s, true
	r.mu.Unlock()
	r.wake.Notify()
}

// observe takes this host's addresses.
func (r *relaying) observe(links []mesh.Link) {
	own := map[netip.Addr]struct{}{}
	for _, l := range links {
		for _, p := range l.Addresses {
			own[p.Addr().Unmap().WithZone("")] = struct{}{}
		}
	}
	r.own.Store(&own)
}

// reconfigure makes the relay look at the settings.
func (r *relaying) reconfigure() { r.wake.Notify() }

// isOwn reports whether an address is one of this host.
func (r *relaying) isOwn(a netip.Addr) bool {
	_, own := (*r.own.Load())[a]
	return own
}

// authorize returns the member that a user is.
func (r *relaying) authorize(user string) (server.Member, bool) {
	m, ok := (*r.members.Load())[user]
	return m, ok
}

// Port implements agent.Relaying.
func (r *relaying) Port() uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serving == nil {
		return 0
	}
	return r.serving.shape.port
}

// Changed implements agent.Relaying.
func (r *relaying) Changed() <-chan struct{} { return r.changed }

// Conditions implements agent.Relaying.
func (r *relaying) Conditions() []mesh.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.conditions)
}

// Usage implements agent.Relaying.
func (r *relaying) Usage() []mesh.RelayUsage {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := map[string]mesh.RelayUsage{}
	for member, u := range r.past {
		total[member] = u
	}
	if r.serving != nil {
		r.serving.count(total)
	}
	list := make([]mesh.RelayUsage, 0, len(total))
	for _, u := range total {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b mesh.RelayUsage) int { return cmp.Compare(a.Member, b.Member) })
	return list
}

// run serves until ctx ends.
func (r *relaying) run(ctx context.Context) error {
	tick := time.NewTicker(relayCheck)
	defer tick.Stop()
	defer r.stop()
	for {
		r.update(ctx)
		var ended <-chan struct{}
		if s := r.current(); s != nil {
			ended = s.done
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-tick.C:
		case <-ended:
		}
	}
}

func (r *relaying) current() *serving {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.serving
}

// update makes the server fit what is wanted.
func (r *relaying) update(ctx context.Context) {
	want, why := r.shape()
	r.keyring.take(r.secrets.keys(), time.Now()) // to see each change
	if now := r.current(); now != nil {
		switch {
		case now.ended():
			r.stop()
			r.report(problem(cmp.Or(now.err, errEnded))) // the next tick tries again
			return
		case now.shape == want && !slices.ContainsFunc(now.retry, func(free func() bool) bool { return free() }):
			now.server.Recheck()
			r.forget()
			r.report(now.problems)
			return
		}
		r.stop()
	}
	if why != nil || want == (relayShape{}) {
		r.report(problem(why))
		return
	}
	s, err := r.serve(ctx, want)
	if err != nil {
		r.report(problem(err))
		return
	}
	r.mu.Lock()
	r.serving = s
	r.mu.Unlock()
	r.log.Info("relaying for members", "port", want.port, "addresses", want.addresses(), "ports", want.ports.String())
	r.report(s.problems)
	r.changed.Notify()
}

// stop ends the server. What it has counted is kept.
func (r *relaying) stop() {
	s := r.current()
	if s == nil {
		return
	}
	s.stop()
	r.mu.Lock()
	s.count(r.past)
	for member, u := range r.past {
		u.Relayed = []netip.AddrPort{}
		r.past[member] = u
	}
	r.serving = nil
	r.mu.Unlock()
	r.log.Info("relaying ended", "error", s.err)
	r.changed.Notify()
}

// forget drops what those have used who are no members any more.
func (r *relaying) forget() {
	names := map[string]bool{}
	for _, m := range *r.members.Load() {
		names[m.Name] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for member := range r.past {
		if !names[member] {
			delete(r.past, member)
		}
	}
}

var errEnded = errors.New("relay: it has ended by itself, and is started again")

func problem(err error) []string {
	if err == nil {
		return nil
	}
	return []string{err.Error()}
}

// report shows what is wrong.
func (r *relaying) report(problems []string) {
	var conditions []mesh.Condition
	for _, p := range problems {
		conditions = append(conditions, mesh.Condition{Type: conditionRelaying, Subject: "relay", Message: p})
	}
	r.mu.Lock()
	same := slices.Equal(conditions, r.conditions)
	r.conditions = conditions
	r.mu.Unlock()
	if !same {
		r.changed.Notify()
	}
}

// keyring has the mesh's keys, and the former one for a while. Its zero value is ready.
type keyring struct {
	mu     sync.Mutex
	keys   []relay.Key
	former relay.Key
	until  time.Time
}

// take takes the present keys, and returns those with which credentials may be made.
func (k *keyring) take(present []relay.Key, now time.Time) []relay.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) > 1 && len(present) == 1 && k.keys[1] == present[0] {
		k.former, k.until = k.keys[0], now.Add(formerKeyTime)
	}
	k.keys = present
	if now.Before(k.until) {
		return append(slices.Clip(present), k.former)
	}
	return present
}
