package state

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/config"
)

func openClock(t *testing.T, st *Dir) *Clock {
	t.Helper()
	c, err := OpenClock(st)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClock(t *testing.T) {
	st := openState(t, config.StateMemory)
	now := time.Date(2026, 1, 2, 15, 4, 5, 999, time.UTC)
	c := openClock(t, st)
	if got := c.Behind(time.Time{}); got != 0 {
		t.Errorf("a first run is behind by %s", got)
	}
	for _, step := range []struct {
		after time.Duration
		want  string
	}{
		{0, "2026-01-02T15:04:05Z\n"},
		{59 * time.Minute, "2026-01-02T15:04:05Z\n"}, // at most hourly
		{60 * time.Minute, "2026-01-02T16:04:05Z\n"},
		{30 * time.Minute, "2026-01-02T16:04:05Z\n"}, // behind: not good
	} {
		if err := c.Tick(now.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if got, err := st.Read(clockFile); err != nil || string(got) != step.want {
			t.Errorf("after %s the file is %q, %v; want %q", step.after, got, err, step.want)
		}
	}
	restarted := openClock(t, st)
	if got := restarted.Behind(now); got != time.Hour-999*time.Nanosecond {
		t.Errorf("behind by %s, want an hour", got)
	}
	if got := restarted.Behind(now.Add(time.Hour)); got != 0 {
		t.Errorf("behind by %s, want 0", got)
	}
}

func TestJudgeClock(t *testing.T) {
	for _, tc := range []struct {
		behind       time.Duration
		synchronised bool
		want         clockVerdict
	}{
		{0, false, clockGood},
		{0, true, clockGood},
		{1, false, clockSettle},
		{1, true, clockBehind},
		{30 * 24 * time.Hour, false, clockSettle},
		{30 * 24 * time.Hour, true, clockBehind},
		{30*24*time.Hour + 1, false, clockDoubted},
		{30*24*time.Hour + 1, true, clockDamaged},
	} {
		if got := judgeClock(tc.behind, tc.synchronised); got != tc.want {
			t.Errorf("behind by %s, synchronised %v: verdict %d, want %d", tc.behind, tc.synchronised, got, tc.want)
		}
	}
}

// A recorded time that is far ahead is replaced once the clock is synchronised, and not
// before.
func TestClockFarAhead(t *testing.T) {
	st := openState(t, config.StateMemory)
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	if err := st.Replace(clockFile, []byte("2040-01-01T00:00:00Z\n")); err != nil {
		t.Fatal(err)
	}
	c := openClock(t, st)
	for _, synchronised := range []bool{false, true} {
		c.synchronised = func() bool { return synchronised }
		if err := c.Fix(); err == nil || !strings.Contains(err.Error(), "right, remove ") {
			t.Errorf("synchronised %v: Fix = %v", synchronised, err)
		}
		if got := c.Conditions(now); len(got) != 1 || !strings.Contains(got[0].Message, "set the clock or, if it is right, remove memory/clock and restart") {
			t.Errorf("synchronised %v: conditions %+v", synchronised, got)
		}
		if err := c.Tick(now); err != nil {
			t.Fatal(err)
		}
		want := "2040-01-01T00:00:00Z\n"
		if synchronised {
			want = "2026-01-02T15:04:05Z\n"
		}
		if got, err := st.Read(clockFile); err != nil || string(got) != want {
			t.Errorf("synchronised %v: the file is %q, %v; want %q", synchronised, got, err, want)
		}
	}
	if got := c.Conditions(now); got != nil {
		t.Errorf("conditions stay: %+v", got)
	}
}

// A synchronised clock is not set. The file stays if its time is credible: peers have
// seen that time.
func TestClockSynchronisedButBehind(t *testing.T) {
	st := openState(t, config.StateMemory)
	c := openClock(t, st)
	c.synchronised = func() bool { return true }
	c.lastGood = time.Now().Add(time.Hour)
	if err := c.Fix(); err == nil || !strings.Contains(err.Error(), "it is synchronised") {
		t.Errorf("Fix = %v", err)
	}
	if err := c.Tick(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := c.Conditions(time.Now()); len(got) != 1 {
		t.Errorf("conditions %+v", got)
	}
}

func TestClockFileDamaged(t *testing.T) {
	st := openState(t, config.StateMemory)
	if err := st.Replace(clockFile, []byte("gibberish")); err != nil {
		t.Fatal(err)
	}
	if got := openClock(t, st).Behind(time.Unix(0, 0)); got != 0 {
		t.Errorf("behind by %s", got)
	}
}

// A write that fails is tried again at the next Tick, not an hour later.
func TestClockWriteFails(t *testing.T) {
	c := openClock(t, &Dir{dir: "/proc/self/wirespan-test", log: hclog.NewNullLogger()})
	for range 2 {
		if err := c.Tick(time.Unix(1e9, 0)); err == nil || !strings.Contains(err.Error(), "make the state directory writable") {
			t.Fatalf("Tick in a directory that isn't there = %v", err)
		}
	}
}
