package agent

import (
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// minStep is how far the clock must be set for that to count.
	minStep = 2 * time.Second
	// maxSteps is how many times are remembered that the clock was set. Before the first of
	// them, what is shown may be wrong.
	maxSteps = 64
)

// steps are the times at which somebody has set the clock, since the start.
type steps struct {
	offset time.Duration // of the clock, as last read
	looked time.Time     // when that was; zero: never
	list   []step
}

type step struct {
	after, until time.Time // the clock was set between these
	by           time.Duration
}

// look notes whether the clock was set since the last look, and by how much.
func (s *steps) look(offset time.Duration, now time.Time) (by time.Duration) {
	last := s.looked
	by, s.offset, s.looked = offset-s.offset, offset, now
	if last.IsZero() || by.Abs() < minStep {
		return 0
	}
	s.list = append(s.list[max(0, len(s.list)+1-maxSteps):], step{after: last, until: now, by: by})
	return by
}

// show returns what the clock would have shown at t, if it had always been as it is now.
func (s *steps) show(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	shown := t.Round(0)
	for _, step := range s.list {
		before := t.Before(step.after)
		if !before && t.Before(step.until) { // its own reading tells
			before = step.until.Round(0).Sub(t.Round(0)).Abs() > step.by.Abs()/2
		}
		if before {
			shown = shown.Add(step.by)
		}
	}
	return shown.UTC()
}

// followClock takes note of a clock that was set: what this process has noted by the
// clock, moves along.
func (a *Agent) followClock(now time.Time) {
	from := a.steps.show(a.started)
	to := from.Add(now.Sub(a.started))
	pins, changed := a.cfg.Memory.Pins(a.self.Subnet), false
	if by := a.steps.look(a.cfg.Clock.Offset(), now); by != 0 {
		a.log.Info("the clock was set", "by", by.String())
		a.paths = nil
		pins, changed = mesh.MovePins(pins, from, to, by), true
	}
	if a.cfg.Clock.Confirmed() {
		capped, ahead := mesh.CapPins(pins, now)
		pins, changed = capped, changed || ahead
	}
	if changed && a.cfg.Memory.SetPins(a.self.Subnet, pins) {
		a.pinning.note(now)
	}
}
