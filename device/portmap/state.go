package portmap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

// releaseTimeout bounds the removal of the mappings.
const releaseTimeout = 3 * time.Second

// state is what is known of the gateway.
type state struct {
	gateway  mesh.Gateway
	since    time.Time // when it became the gateway
	protocol protocol  // nil: none is known that it speaks
	leases   []lease
	refused  map[mesh.Port]string // why ports are not mapped
	reason   string               // why none is
	external netip.Addr
	lookAt   time.Time // when to ask whether it still has the mappings
	retryAt  time.Time // after a failure
	failures int       // in a row
	had      bool      // it has mapped ports before
	anew     bool      // there may be another gateway at the same address
	moves    int       // as last taken up
	seen     []netip.Addr
	forcedAt time.Time
}

// enter notes the gateway. The mappings of another one are out of reach, and expire there.
func (s *state) enter(g mesh.Gateway, now time.Time) {
	if g != s.gateway || s.since.IsZero() {
		*s = state{gateway: g, since: now, moves: s.moves, seen: s.seen}
	}
}

// maintain makes, renews and checks mappings, and returns how long nothing is due.
func (s *state) maintain(ctx context.Context, c Config, w *mesh.PortWish, now time.Time) time.Duration {
	forced := w.Moves != s.moves || !slices.Equal(w.Seen, s.seen)
	if gap := s.forcedAt.Add(forceGap).Sub(now); forced && gap > 0 {
		return min(gap, max(s.next().Sub(now), minRenewal))
	}
	if forced {
		s.moves, s.seen, s.forcedAt, s.anew, s.retryAt = w.Moves, w.Seen, now, true, time.Time{}
	}
	if !now.Before(s.retryAt) {
		if s.protocol == nil || s.anew {
			s.find(ctx, c, w, now)
		} else {
			s.keep(ctx, w, now)
		}
	}
	return max(time.Until(s.next()), time.Millisecond)
}

// next returns when something is due.
func (s *state) next() time.Time {
	if s.protocol == nil {
		return s.retryAt
	}
	at := s.lookAt
	for _, l := range s.leases {
		if r := l.renewAt(); r.Before(at) {
			at = r
		}
	}
	if at.Before(s.retryAt) {
		return s.retryAt
	}
	return at
}

// protocols returns the ways to ask a gateway, the best first.
func protocols(l link, n Nonce) []protocol {
	out := []protocol{&pcp{link: l, nonce: n}, &pmp{link: l}}
	if p, ok := newUPnP(l); ok {
		out = append(out, p)
	}
	return out
}

// find asks the gateway by each protocol until one maps something.
func (s *state) find(ctx context.Context, c Config, w *mesh.PortWish, now time.Time) {
	var tried attempts
	for _, p := range protocols(link{s.gateway, c.Sockets}, c.Nonce) {
		external, err := p.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil && external.IsValid() {
			s.external = external
			err = implausible(external)
		}
		if err != nil {
			tried.add(p, err)
			continue
		}
		old := s.leases
		s.leases, s.refused = nil, nil
		if err = s.grant(ctx, p, wanted(w), old); len(s.leases) > 0 {
			s.protocol, s.reason, s.failures, s.had, s.anew = p, "", 0, true, false
			s.lookAt = now.Add(p.checkInterval())
			return
		}
		tried.add(p, err)
		if ctx.Err() != nil {
			s.leases = old
			return
		}
	}
	s.protocol, s.leases, s.anew, s.reason = nil, nil, false, tried.text()
	s.fail(time.Now(), retryNone)
}

// fail has the next attempt wait. A gateway that has mapped ports before is asked again soon.
func (s *state) fail(now time.Time, last time.Duration) {
	wait := retryNone
	if s.had {
		wait = min(retryFirst<<min(s.failures, 10), last)
	}
	s.failures++
	s.retryAt = now.Add(wait)
}

// keep renews what is due, and makes all anew if the gateway has lost it.
func (s *state) keep(ctx context.Context, w *mesh.PortWish, now time.Time) {
	var err error
	lost := false
	if !now.Before(s.lookAt) {
		if lost, err = s.protocol.check(ctx, s.leases); err == nil {
			s.lookAt = now.Add(s.protocol.checkInterval())
		}
	}
	due := s.due(w, now)
	if lost {
		due = wanted(w)
	}
	if err == nil {
		err = s.grant(ctx, s.protocol, due, s.leases)
	}
	if ctx.Err() != nil {
		return
	}
	s.leases = slices.DeleteFunc(s.leases, func(l lease) bool { return l.expired(now) })
	if _, refused := errors.AsType[refusal](err); err == nil || refused && len(s.leases) > 0 {
		s.failures = 0
		return
	}
	if len(s.leases) == 0 {
		s.protocol, s.reason = nil, err.Error()
	}
	s.fail(now, retryLast)
}

// wanted returns the ports to map.
func wanted(w *mesh.PortWish) (out []mesh.Port) {
	for _, p := range w.Ports {
		if p.Refused == "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// leaseOf returns the mapping of a port; nil: there is none.
func leaseOf(leases []lease, p mesh.Port) *lease {
	for i := range leases {
		if leases[i].port == p {
			return &leases[i]
		}
	}
	return nil
}

// due returns the ports whose mappings are to be made or renewed. One that was refused is
// not asked for again until everything is.
func (s *state) due(w *mesh.PortWish, now time.Time) (out []mesh.Port) {
	for _, p := range wanted(w) {
		l := leaseOf(s.leases, p)
		_, refused := s.refused[p]
		if l == nil && !refused || l != nil && !now.Before(l.renewAt()) {
			out = append(out, p)
		}
	}
	return out
}

// grant asks for mappings. Old ones say which external ports there were. A port that is
// refused loses its mapping. The error is the first.
func (s *state) grant(ctx context.Context, p protocol, ports []mesh.Port, old []lease) (first error) {
	for _, want := range ports {
		suggested := want.Number
		if l := leaseOf(old, want); l != nil {
			suggested = l.external.Port()
		}
		g, err := p.grant(ctx, want, suggested)
		if err == nil {
			err = s.take(ctx, p, lease{want, g, time.Now()})
		}
		if err != nil && first == nil {
			first = err
		}
		if _, refused := errors.AsType[refusal](err); refused {
			s.drop(want)
			if s.refused == nil {
				s.refused = map[mesh.Port]string{}
			}
			s.refused[want] = err.Error()
		}
	}
	return first
}

// take notes a mapping, unless it leads nowhere.
func (s *state) take(ctx context.Context, p protocol, l lease) error {
	s.external = l.external.Addr()
	err := implausible(s.external)
	if err == nil && l.external.Port() == 0 {
		err = errNoExternal
	}
	if err != nil {
		if !l.kept {
			_ = p.release(ctx, l) // it expires
		}
		return refusal{text: err.Error()}
	}
	s.drop(l.port)
	delete(s.refused, l.port)
	s.leases = append(s.leases, l)
	return nil
}

func (s *state) drop(p mesh.Port) {
	s.leases = slices.DeleteFunc(s.leases, func(l lease) bool { return l.port == p })
}

// releaseAll removes the mappings.
func (s *state) releaseAll(ctx context.Context, log hclog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	for _, l := range s.leases {
		s.release(ctx, l, log)
	}
	*s = state{gateway: s.gateway, since: s.since, moves: s.moves, seen: s.seen}
}

// releaseUnwanted removes the mappings of ports that are not to be mapped any more.
func (s *state) releaseUnwanted(ctx context.Context, w *mesh.PortWish, log hclog.Logger) {
	ports := wanted(w)
	s.leases = slices.DeleteFunc(s.leases, func(l lease) bool {
		gone := !slices.Contains(ports, l.port)
		if gone {
			s.release(ctx, l, log)
		}
		return gone
	})
}

func (s *state) release(ctx context.Context, l lease, log hclog.Logger) {
	if s.protocol == nil || l.kept {
		return
	}
	if err := s.protocol.release(ctx, l); err != nil {
		log.Warn("a mapping stays at the gateway until it expires", "error", err)
	}
}

// report returns what others are to know.
func (s *state) report(w *mesh.PortWish, reason string) mesh.PortMapping {
	r := mesh.PortMapping{Gateway: s.gateway.Address, External: s.external, Ports: []mesh.MappedPort{}}
	if s.protocol != nil {
		r.Protocol = s.protocol.name()
	}
	for _, p := range w.Ports {
		m := mesh.MappedPort{Use: p.Use, Network: p.Network(), Port: p.Number, Reason: p.Refused}
		if l := leaseOf(s.leases, p); l != nil {
			m.External, m.Expires = l.external, l.expires()
		} else if m.Reason == "" {
			m.Reason = s.refused[p]
		}
		r.Ports = append(r.Ports, m)
	}
	if len(s.leases) == 0 {
		r.Reason = reason
	}
	return r
}

// attempts are protocols that map nothing.
type attempts []string

func (a *attempts) add(p protocol, err error) { *a = append(*a, fmt.Sprintf("%s: %v", p.name(), err)) }

func (a attempts) text() string {
	return "the gateway maps no ports (" + strings.Join(a, "; ") + without + ")"
}
