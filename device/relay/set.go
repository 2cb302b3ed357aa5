package relay

import (
	"context"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// maxWant is how many addresses are kept at most, and maxTries how many relays are tried at
	// the same time.
	maxWant  = 4
	maxTries = 4
	// hedgeTime is how long a relay is tried until the next one is, too.
	hedgeTime = 3 * time.Second
	// restTime is how long a relay that failed comes after the others.
	restTime = time.Minute
	// movingTime is how long a failure may be due to a change of the host.
	movingTime = 10 * time.Second
)

// Set keeps addresses on relays, each by a [Client]. Use NewSet.
type Set struct {
	access  *Access
	bind    *Bind
	log     hclog.Logger
	changed mesh.Signal
	wake    mesh.Signal

	mu      sync.Mutex // guards what follows, and much of each entry and use
	wish    mesh.RelayWish
	entries []*entry // in the order of the wish
	moved   time.Time
}

// entry is a relay of the wish.
type entry struct {
	relay     mesh.Relay
	use       *use             // nil: it is not used
	last      mesh.RelayStatus // of the last use, with counters of all
	pace      backoff
	retryAt   time.Time
	restUntil time.Time // until then it comes after the others
}

// NewSet returns a set that does nothing until Run. The bind sends and receives by its clients.
func NewSet(access *Access, bind *Bind, log hclog.Logger) (*Set, error) {
	if err := access.complete(); err != nil {
		return nil, err
	}
	return &Set{access: access, bind: bind, log: log, changed: mesh.NewSignal(), wake: mesh.NewSignal()}, nil
}

// Changed receives after what Relays returns has changed; times and counters alone are no change.
func (s *Set) Changed() <-chan struct{} { return s.changed }

// Set says which relays to use. Addresses on relays that stay are kept, whatever the order.
func (s *Set) Set(w mesh.RelayWish) {
	s.mu.Lock()
	defer s.mu.Unlock()
	moved := w.Moves != s.wish.Moves
	s.wish = w
	old := s.entries
	s.entries = make([]*entry, 0, len(w.Relays))
	for _, r := range w.Relays {
		if slices.ContainsFunc(s.entries, func(e *entry) bool { return e.relay.Name == r.Name }) {
			continue
		}
		e := &entry{}
		if i := slices.IndexFunc(old, func(e *entry) bool { return e.relay.Name == r.Name }); i >= 0 {
			e = old[i]
			old = slices.Delete(slices.Clone(old), i, i+1)
		}
		e.adopt(r)
		s.entries = append(s.entries, e)
	}
	for _, e := range old {
		e.stop()
	}
	for _, e := range s.entries {
		if moved {
			e.retryAt, e.restUntil, e.pace = time.Time{}, time.Time{}, backoff{}
		}
		if e.use != nil {
			e.use.tell(moved, e.reaches(w.Peers))
		}
	}
	if moved {
		s.moved = time.Now()
	}
	s.wake.Notify()
}

// adopt takes what a wish says of a relay. A use that it makes void is ended.
func (e *entry) adopt(r mesh.Relay) {
	old := e.relay
	e.relay = r
	if old.NodeID == r.NodeID && old.Family6 == r.Family6 && slices.Equal(old.Servers, r.Servers) {
		return
	}
	e.retryAt, e.restUntil, e.pace = time.Time{}, time.Time{}, backoff{}
	if e.use != nil && (old.NodeID != r.NodeID || old.Family6 != r.Family6 || e.use.winner == nil) {
		e.stop()
	}
}

// stop ends the use of a relay. The caller holds mu.
func (e *entry) stop() {
	if e.use != nil {
		e.settle()
		e.use.cancel()
		e.use = nil
	}
}

// settle notes how far a use came. The caller holds mu.
func (e *entry) settle() {
	e.last = e.status()
	e.last.Relayed, e.last.Former, e.last.Permitted, e.last.Refused, e.last.RTT = netip.AddrPort{}, netip.AddrPort{}, false, nil, 0
}

// Relays returns what is known of the relays that are used, are tried or have failed, in the order
// of the wish.
func (s *Set) Relays() []mesh.RelayStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []mesh.RelayStatus
	for _, e := range s.entries {
		if e.use != nil || e.last.Error != "" {
			list = append(list, e.status())
		}
	}
	return list
}

// status returns what is known of a relay. The caller holds mu.
func (e *entry) status() mesh.RelayStatus {
	st := e.last
	st.Relay = e.relay.Name
	if e.use == nil {
		return st
	}
	st.Error = ""
	e.use.show(&st)
	return st
}

// Run keeps addresses until ctx ends, and then gives them back.
func (s *Set) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(s.step(ctx, &group, time.Now())))
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// step ends and begins uses, and returns when to look again.
func (s *Set) step(ctx context.Context, group *sync.WaitGroup, now time.Time) (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.use != nil && e.use.ended {
			s.fail(e, now)
		}
	}
	want := min(max(s.wish.Want, 0), maxWant)
	have := s.trim(want)
	next = now.Add(time.Minute)
	if have >= want {
		return next
	}
	tries := 0
	for _, e := range s.entries {
		if e.use == nil || e.use.winner != nil {
			continue
		}
		tries++
		if hedge := e.use.began.Add(hedgeTime); now.Before(hedge) {
			have++
			next = earlier(next, hedge)
		}
	}
	for _, e := range s.order(now) {
		switch {
		case now.Before(e.retryAt):
			next = earlier(next, e.retryAt)
		case have < want && tries < maxTries:
			have, tries = have+1, tries+1
			next = earlier(next, now.Add(hedgeTime))
			s.begin(ctx, group, e, now)
		}
	}
	return next
}

// trim ends the uses beyond those that are wanted, and returns how many have an address. The
// caller holds mu.
func (s *Set) trim(want int) (have int) {
	for _, e := range s.entries {
		if e.use != nil && e.use.winner != nil {
			if have++; have > want {
				have--
				e.stop()
				s.changed.Notify()
			}
		}
	}
	if have < want {
		return have
	}
	for _, e := range s.entries {
		if e.use != nil && e.use.winner == nil {
			e.stop()
			s.changed.Notify()
		}
	}
	return have
}

// order returns the relays that are not used, in the order in which they are tried. The caller
// holds mu.
func (s *Set) order(now time.Time) []*entry {
	var list []*entry
	for _, e := range s.entries {
		if e.use == nil {
			list = append(list, e)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].rest(now) < list[j].rest(now) })
	return list
}

// reaches returns those of the peers that a relay sends to.
func (e *entry) reaches(peers []netip.AddrPort) (out []netip.AddrPort) {
	for _, p := range peers {
		if e.relay.Reaches(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}

func (e *entry) rest(now time.Time) time.Duration { return max(e.restUntil.Sub(now), 0) }

// begin uses a relay. The caller holds mu.
func (s *Set) begin(ctx context.Context, group *sync.WaitGroup, e *entry, now time.Time) {
	ctx, cancel := context.WithCancel(ctx)
	u := &use{set: s, relay: e.relay, peers: e.reaches(s.wish.Peers), began: now, cancel: cancel, wake: mesh.NewSignal()}
	e.use = u
	group.Go(func() {
		defer cancel()
		u.run(ctx)
	})
	s.changed.Notify()
}

// fail takes that a use has ended. The caller holds mu.
func (s *Set) fail(e *entry, now time.Time) {
	u := e.use
	e.settle()
	e.last.Error = u.err.Error()
	e.use = nil
	wait := e.pace.after(u.err, now.Sub(u.began))
	if now.Sub(s.moved) < movingTime { // it need not be the relay
		if e.pace.failures == 1 {
			wait = 0
		}
	} else {
		e.restUntil = now.Add(restTime)
	}
	e.retryAt = now.Add(wait)
	s.log.Debug("relay failed", "relay", e.relay.Name, "transport", e.last.Transport, "server", e.last.Server, "error", u.err)
	s.changed.Notify()
}
