package agent

import (
	"time"

	"github.com/wirespan/wirespan/mesh/state"
)

const (
	// What has changed is written to disk by the first pass after settleTime without
	// another change, and after settleLimit at the latest: a member that changes all
	// the time must not wear out a flash disk. Pins are written at once, so that a crash
	// forgets no node, but only writeBurst times in a row and then once per
	// writeInterval.
	writeBurst    = 20
	writeInterval = time.Minute
	settleTime    = 10 * time.Second
	settleLimit   = 3 * time.Minute
)

// settling says when changes are written to a file.
type settling struct {
	first, last time.Time // changes that are not written; zero: none
	busy        time.Time // until then, at one write per writeInterval
	err         error     // of the last attempt
}

// mayWrite reports whether another write is within the limit, and counts it.
func (s *settling) mayWrite(now time.Time) bool {
	if s.busy.Before(now) {
		s.busy = now
	}
	if s.busy.Sub(now) > (writeBurst-1)*writeInterval {
		return false
	}
	s.busy = s.busy.Add(writeInterval)
	return true
}

// note notes a change.
func (s *settling) note(now time.Time) {
	s.last = now
	if s.first.IsZero() {
		s.first = now
	}
}

// settled reports whether there are changes, and it is time to write them.
func (s *settling) settled(now time.Time) bool {
	return !s.first.IsZero() && (now.Sub(s.last) >= settleTime || now.Sub(s.first) >= settleLimit)
}

// write writes the changes if they are due, or at once. After an error they are due again
// in a while.
func (s *settling) write(now time.Time, atOnce bool, f func() error) {
	if s.first.IsZero() {
		return
	}
	if !s.settled(now) && (!atOnce || s.err != nil || !s.mayWrite(now)) {
		return
	}
	if s.err = f(); s.err != nil {
		s.first, s.last = now, now
		return
	}
	s.first = time.Time{}
}

// settle writes pins and policy when they have settled.
func (a *Agent) settle(now time.Time) {
	a.pinning.write(now, true, a.cfg.Memory.WritePins)
	r := &a.routing
	if !a.keepsPolicy() || !r.current {
		return
	}
	switch {
	case a.keptPolicy():
		r.keeping = settling{}
	case r.changed || r.keeping.first.IsZero():
		r.keeping.note(now)
	}
	r.changed = false
	r.keeping.write(now, false, func() error { return a.cfg.Memory.KeepPolicy(r.applied) })
}

// flush writes at the end of Run what has not settled.
func (a *Agent) flush() {
	a.flushCache(time.Now())
	a.warnUnwritten(state.PinsFile, a.cfg.Memory.WritePins())
	if a.keepsPolicy() && a.routing.current && !a.keptPolicy() {
		a.warnUnwritten(state.PolicyFile, a.cfg.Memory.KeepPolicy(a.routing.applied))
	}
}

// keptPolicy reports whether the policy that is applied is the one on disk.
func (a *Agent) keptPolicy() bool {
	kept := a.cfg.Memory.Policy()
	return samePolicy(&kept, &a.routing.applied)
}

// warnUnwritten logs an error of a write that is not repeated.
func (a *Agent) warnUnwritten(file string, err error) {
	if err != nil {
		a.log.Warn("writing state", "file", file, "error", err)
	}
}
