package agent

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/config"
)

func openClock(t *testing.T, st *State) *Clock {
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

func TestClockFileDamaged(t *testing.T) {
	st := openState(t, config.StateMemory)
	if err := st.Replace(clockFile, []byte("gibberish")); err != nil {
		t.Fatal(err)
	}
	if got := openClock(t, st).Behind(time.Unix(0, 0)); got != 0 {
		t.Errorf("behind by %s", got)
	}
}

// What could not be written is tried again, not an hour later.
func TestClockWriteFails(t *testing.T) {
	c := openClock(t, &State{dir: "/proc/self/wirespan-test", log: hclog.NewNullLogger()})
	for range 2 {
		if err := c.Tick(time.Unix(1e9, 0)); err == nil {
			t.Fatal("Tick in a directory that isn't there succeeds")
		}
	}
}
