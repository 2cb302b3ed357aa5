package mesh

import (
	"slices"
	"time"
)

// MovePins returns pins after the clock has been set. What was noted by the clock as it was,
// between from and to, moves by as much as the clock did; else nodes that were seen a minute
// ago would count as gone for years, or as forgotten.
func MovePins(pins []Pin, from, to time.Time, by time.Duration) []Pin {
	from, to = from.Add(-time.Second), to.Add(time.Second) // pins have whole seconds
	return mapTimes(pins, func(t time.Time) time.Time {
		if t.Before(from) || t.After(to) {
			return t
		}
		return t.Add(by).Truncate(time.Second)
	})
}

// CapPins returns pins without times after now, which an earlier agent has noted by a clock
// that was ahead, and reports whether there were any. The clock must be right.
func CapPins(pins []Pin, now time.Time) (capped []Pin, ahead bool) {
	limit := now.UTC().Truncate(time.Second)
	for i := range pins {
		p := &pins[i]
		ahead = ahead || p.FirstSeen.After(now) || p.LastSeen.After(now) || p.Gone.After(now) || p.Cloned.After(now)
	}
	if !ahead {
		return pins, false
	}
	return mapTimes(pins, func(t time.Time) time.Time {
		if t.After(limit) {
			return limit
		}
		return t
	}), true
}

// mapTimes returns pins with other times. A time that is zero stays so.
func mapTimes(pins []Pin, f func(time.Time) time.Time) []Pin {
	pins = slices.Clone(pins)
	for i := range pins {
		p := &pins[i]
		for _, t := range []*time.Time{&p.FirstSeen, &p.LastSeen, &p.Gone, &p.Cloned} {
			if !t.IsZero() {
				*t = f(*t)
			}
		}
	}
	return pins
}
