package agent

import (
	"context"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// retryInitial is the wait after a failed apply; it doubles up to half a minute.
	retryInitial = time.Second
	maxDoublings = 5
	// Damage that other programs do to routing and firewall is repaired at once.
	// The next repair waits at least minQuiet, and quietShare times as long as the
	// last pass took: another program may go on changing them.
	minQuiet   = 100 * time.Millisecond
	quietShare = 10
	// Passes that others cause are paced by what they cost. Each adds the time it
	// took to a debt, of which 1/paceShare is paid off as time goes by; the garbage
	// collector takes about as much again. Above
	// paceDebt the next pass waits, for maxPace at most. So a mesh of ordinary size
	// is never held up, and one that is made to change all the time is.
	paceShare = 40
	paceDebt  = 250 * time.Millisecond
	maxPace   = 5 * time.Second
)

// schedule says when the loop looks at the world, and how thoroughly.
type schedule struct {
	stale      bool // the next pass is a full one: it reads and applies everything
	full       bool // this pass is a full one
	nextFull   time.Time
	disturbed  bool      // this pass repairs what other programs changed
	quietUntil time.Time // such changes wait until then
	failures   int       // passes in a row in which something could not be applied
	paid       time.Time // when the debt of passes is paid off
	restUntil  time.Time // a pass that nobody asked for waits until then
	replies    []func()  // answers that are due after the next pass
}

// begin starts a pass and reports whether it is a full one.
func (s *schedule) begin(now time.Time) (full bool) {
	if !now.Before(s.nextFull) {
		s.stale, s.nextFull = true, now.Add(mesh.ReconcileInterval)
	}
	s.full, s.stale = s.stale, false
	return s.full
}

// end notes whether everything could be applied.
func (s *schedule) end(good bool) {
	s.failures++
	if good {
		s.failures = 0
	}
}

// next returns the wait until the next pass if nothing happens: until the next
// full one, wake (the next boundary of a peer's state; zero: none), or a retry.
func (s *schedule) next(wake, now time.Time) time.Duration {
	wait := max(s.nextFull.Sub(now), time.Millisecond)
	if !wake.IsZero() {
		wait = min(wait, max(wake.Sub(now), time.Millisecond))
	}
	if s.failures > 0 {
		wait = min(wait, retryInitial<<min(s.failures-1, maxDoublings))
	}
	return wait
}

// settle ends a pass that began at start: what others change next may have to
// wait, and whoever asked for the pass is answered.
func (s *schedule) settle(start, now time.Time) {
	if s.disturbed {
		s.disturbed = false
		s.quietUntil = now.Add(max(minQuiet, quietShare*now.Sub(start)))
	}
	s.pace(now.Sub(start), now)
	for _, reply := range s.replies {
		reply()
	}
	s.replies = nil
}

// pace adds the cost of a pass that ended now to the debt.
func (s *schedule) pace(cost time.Duration, now time.Time) {
	if s.paid.Before(now) {
		s.paid = now
	}
	s.paid = s.paid.Add(paceShare * cost)
	s.restUntil = s.paid.Add(-paceShare * paceDebt)
	if last := now.Add(maxPace); last.Before(s.restUntil) { // more debt than that is forgiven
		s.restUntil = last
		s.paid = last.Add(paceShare * paceDebt)
	}
}

// wait blocks until there is a reason to look again, for wake at most. While the
// loop rests, only requests, damage, and packets that wait for it are reasons.
func (a *Agent) wait(ctx context.Context, wake time.Duration) error {
	if a.cfg.Watchdog > 0 {
		a.cfg.Notify("WATCHDOG=1")
		wake = min(wake, a.cfg.Watchdog)
	}
	deadline := time.Now().Add(wake)
	for {
		rest := time.Until(a.schedule.restUntil)
		if rest <= 0 {
			_, err := a.await(ctx, time.Until(deadline), false)
			return err
		}
		if looked, err := a.await(ctx, rest, true); looked || err != nil {
			return err
		}
	}
}

// await blocks until there is a reason to look again, and reports whether it was
// another than the end of timeout.
func (a *Agent) await(ctx context.Context, timeout time.Duration, resting bool) (reason bool, err error) {
	var events, called, gone, interference, services, ports, relaying <-chan struct{}
	var discovered <-chan struct{} = a.sources.changed
	host := a.cfg.Host.Changed()
	if a.plane.device != nil {
		events, called, gone = a.plane.device.Events(), a.plane.device.Called(), a.plane.device.Done()
	}
	if a.cfg.Services != nil {
		services = a.cfg.Services.Changed()
	}
	if a.cfg.Ports != nil {
		ports = a.cfg.Ports.Changed()
	}
	if a.cfg.Relaying != nil {
		relaying = a.cfg.Relaying.Changed()
	}
	if resting {
		events, discovered, host = nil, nil, nil
	}
	if a.cfg.Firewall != nil {
		interference = a.cfg.Firewall.Changed()
	}
	if rest := time.Until(a.schedule.quietUntil); rest > 0 {
		interference, timeout = nil, min(timeout, rest)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		return false, nil
	case <-discovered:
	case <-events:
	case <-called:
	case <-services:
	case <-relaying:
	case <-host:
		a.schedule.stale = true
		a.host.moves++
	case <-ports:
		a.schedule.stale = true // join tokens depend on it, too
	case <-interference:
		a.log.Debug("routing or firewall was changed from outside, looking again")
		a.schedule.stale, a.schedule.disturbed = true, true
	case <-gone:
		a.log.Warn("the tunnel device has gone, opening it again")
		a.closeDevice()
	case req := <-a.requests:
		return true, a.handle(ctx, req)
	}
	return true, nil
}
