package device

import (
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Ages of handshakes do not follow the clock.
func TestHandshakeTimes(t *testing.T) {
	h := newHandshakeTimes()
	a, b := mesh.Key{1}, mesh.Key{2}
	now := h.read.Add(time.Minute)
	check := func(what string, key mesh.Key, clock time.Time, age time.Duration) {
		t.Helper()
		if got := now.Sub(h.of(key, clock, now)); got != age {
			t.Errorf("%s: %s ago, want %s", what, got, age)
		}
	}
	wall := now.Round(0)
	h.begin()
	check("the clock was not set", a, wall.Add(-3*time.Second), 3*time.Second)
	check("the clock was set forward before the first look", b, time.Unix(1000, 0), 0)
	h.end(2, now)
	now = now.Add(time.Minute)
	h.begin()
	check("the same", a, wall.Add(-3*time.Second), 63*time.Second)
	check("the same", b, time.Unix(1000, 0), time.Minute)
	h.end(2, now)
	now = now.Add(time.Minute)
	h.begin()
	check("another, and the clock was set back", a, wall.Add(10*365*24*time.Hour), 0)
	h.end(1, now)
	if _, known := h.by[b]; known || len(h.by) != 1 {
		t.Errorf("a peer that is gone is remembered: %v", h.by)
	}
}
