package mesh

import (
	"testing"
	"time"
)

func TestPinsFollowTheClock(t *testing.T) {
	start := time.Unix(100, 0).UTC()
	old := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	pins := []Pin{
		{NodeID: "a", FirstSeen: old, LastSeen: old, Gone: start.Add(time.Minute)},
		{NodeID: "b", FirstSeen: start, LastSeen: start, Cloned: start.Add(time.Hour)},
	}
	set := old.Add(24 * time.Hour)
	by := set.Sub(start.Add(time.Hour))
	got := MovePins(pins, start, start.Add(time.Hour), by)
	if a := got[0]; a.FirstSeen != old || a.LastSeen != old || a.Gone != set.Add(-59*time.Minute) || !a.Cloned.IsZero() {
		t.Errorf("a pin of an earlier run: %+v", a)
	}
	if b := got[1]; b.FirstSeen != set.Add(-time.Hour) || b.LastSeen != b.FirstSeen || !b.Gone.IsZero() || b.Cloned != set {
		t.Errorf("a pin of this run: %+v", b)
	}
	if pins[1].LastSeen != start {
		t.Error("the pins themselves were changed")
	}
}

func TestPinsOfAClockThatWasAhead(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 1, time.UTC)
	ahead := now.AddDate(10, 0, 0)
	limit := now.Truncate(time.Second)
	pins, found := CapPins([]Pin{{FirstSeen: now.AddDate(0, -1, 0), LastSeen: ahead, Gone: ahead}}, now)
	if _, again := CapPins(pins, now); !found || again {
		t.Errorf("capped: %v, and again: %v", found, again)
	}
	if got := pins[0]; got.FirstSeen != now.AddDate(0, -1, 0) || got.LastSeen != limit || got.Gone != limit || !got.Cloned.IsZero() {
		t.Errorf("pin %+v", got)
	}
}
