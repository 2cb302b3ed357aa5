package state

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/config"
)

// testClock is a machine with a clock, over its boots.
type testClock struct {
	*testing.T
	*Clock
	st           *Dir
	built        time.Time
	now          time.Time
	steps        time.Duration
	synchronised bool
	fails        error // of setting the clock
}

var (
	day     = 24 * time.Hour
	builtAt = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
)

func newTestClock(t *testing.T, file string) *testClock {
	m := &testClock{T: t, st: openState(t, config.StateMemory), built: builtAt, now: builtAt.Add(day)}
	if file != "" {
		if err := m.st.Replace(clockFile, []byte(file)); err != nil {
			t.Fatal(err)
		}
	}
	m.boot(m.now)
	return m
}

// boot starts an agent anew, with the clock at a time.
func (m *testClock) boot(now time.Time) {
	m.Helper()
	m.now, m.steps, m.synchronised = now, 0, false
	c, err := OpenClock(m.st, ClockConfig{
		Built: m.built, Synchronised: func() bool { return m.synchronised },
		Offset: func() time.Duration { return m.steps }, Set: func(to time.Time) error {
			if m.fails == nil {
				m.set(to)
			}
			return m.fails
		},
	})
	if err != nil {
		m.Fatal(err)
	}
	m.Clock = c
}

// set has somebody set the clock.
func (m *testClock) set(to time.Time) { m.steps, m.now = m.steps+to.Sub(m.now), to }

// pass lets time go by, with a pass of the agent each minute.
func (m *testClock) pass(d time.Duration) {
	m.Helper()
	for end := m.now.Add(d); ; m.now = m.now.Add(time.Minute) {
		if err := m.Tick(m.now); err != nil {
			m.Fatal(err)
		}
		if !m.now.Before(end) {
			return
		}
	}
}

// fix has the agent look at the clock at its start.
func (m *testClock) fix(want bool) {
	m.Helper()
	if fixed, err := m.Fix(m.now); fixed != want || err != nil {
		m.Errorf("at %s: Fix = %v, %v", m.now, fixed, err)
	}
}

// holds checks the file.
func (m *testClock) holds(want ...time.Time) {
	m.Helper()
	text := ""
	for _, t := range want {
		text += t.UTC().Format(time.RFC3339) + "\n"
	}
	if got, err := m.st.Read(clockFile); err != nil || string(got) != text {
		m.Errorf("the file is %q, %v; want %q", got, err, text)
	}
}

// shows checks the condition; empty: there is none.
func (m *testClock) shows(text string) {
	m.Helper()
	got := m.Conditions(m.now)
	if (len(got) == 0) != (text == "") || len(got) > 0 && !strings.Contains(string(got[0].Type)+": "+got[0].Message, text) {
		m.Errorf("at %s: conditions %+v, want %q", m.now, got, text)
	}
}

func TestClockIsRecordedHourly(t *testing.T) {
	m := newTestClock(t, "")
	start := m.now
	m.pass(59 * time.Minute)
	m.holds(start)
	m.pass(time.Minute)
	m.holds(start.Add(time.Hour))
	m.boot(start.Add(30 * time.Minute))
	m.pass(0)
	m.holds(start.Add(time.Hour))
	m.shows("ClockBehind: the clock is 30m0s behind this node's last run")
	m.pass(30 * time.Minute)
	m.shows("")
}

// A box without a clock of its own starts in 1970 each time. The agent's guess goes on from
// one boot to the next, and does not become the time that counts as good.
func TestClockGuess(t *testing.T) {
	m := newTestClock(t, "")
	good := m.now
	m.pass(0)
	used := good
	for i := range 20 {
		m.boot(time.Unix(int64(i), 0))
		m.fix(true)
		if !m.now.After(used) {
			t.Errorf("boot %d: the clock is set to %s, which was used before", i, m.now)
		}
		m.pass(5 * time.Minute)
		used = m.now
		m.shows("")
	}
	if ahead := m.now.Sub(good); ahead > time.Hour+20*20*time.Minute {
		t.Errorf("20 boots of 5 minutes are %s", ahead)
	}
	if want := good.Format(time.RFC3339) + "\n"; !strings.HasPrefix(string(must(m.st.Read(clockFile))), want) {
		t.Errorf("a guess counts as good: %q", must(m.st.Read(clockFile)))
	}
	// The program is started again, without a boot.
	m.boot(m.now)
	m.fix(false)
	m.pass(time.Hour)
	if got := string(must(m.st.Read(clockFile))); !strings.HasPrefix(got, good.Format(time.RFC3339)) {
		t.Errorf("a guess counts as good after a restart: %q", got)
	}
	// A time service sets the clock back to what is right.
	right := good.Add(2 * time.Hour)
	m.set(right)
	m.pass(0)
	m.holds(right)
	m.shows("")
}

// A time service that lets the clock run on says so to the kernel.
func TestClockGuessConfirmed(t *testing.T) {
	m := newTestClock(t, "")
	m.pass(0)
	m.boot(time.Unix(0, 0))
	m.fix(true)
	m.pass(time.Minute)
	m.synchronised = true
	m.pass(0)
	m.holds(m.now)
}

func TestClockBeforeBuild(t *testing.T) {
	for name, test := range map[string]struct {
		file string
		to   time.Time
	}{
		"first start":          {"", builtAt},
		"an old file":          {"2025-01-01T00:00:00Z\n", builtAt.Add(guessInterval)},
		"a damaged file":       {"gibberish", builtAt},
		"far from 1970":        {"2026-06-01T00:00:00Z\n", time.Date(2026, 6, 1, 1, 0, 0, 0, time.UTC)},
		"a guess":              {"2026-06-01T00:00:00Z\n2026-06-02T00:00:00Z\n", time.Date(2026, 6, 2, 0, 10, 0, 0, time.UTC)},
		"an incredible guess":  {"2026-06-01T00:00:00Z\n2036-06-02T00:00:00Z\n", time.Date(2026, 6, 1, 1, 0, 0, 0, time.UTC)},
		"a guess without good": {"0001-01-01T00:00:00Z\n2026-06-02T00:00:00Z\n", time.Date(2026, 6, 2, 0, 10, 0, 0, time.UTC)},
	} {
		m := newTestClock(t, test.file)
		m.boot(time.Unix(100, 0))
		m.synchronised = true // whoever says so: it is not
		m.pass(0)
		if got, _ := m.st.Read(clockFile); string(got) != test.file {
			t.Errorf("%s: 1970 is recorded: %q", name, got)
		}
		m.shows("the clock says 1970-01-01T00:01:40Z, and this program was built at 2026-01-02T00:00:00Z")
		m.fix(true)
		if m.now.Before(test.to) || m.now.After(test.to.Add(guessInterval)) {
			t.Errorf("%s: the clock is set to %s, want %s", name, m.now, test.to)
		}
	}
}

// A clock that is ten years ahead is not recorded, so that the node works once it is right.
func TestClockYearsAhead(t *testing.T) {
	for _, file := range []string{"", "2026-01-01T00:00:00Z\n"} {
		m := newTestClock(t, file)
		right := m.now
		m.boot(right.Add(10 * 365 * day))
		m.fix(false)
		m.pass(3 * time.Hour)
		if got, _ := m.st.Read(clockFile); string(got) != file {
			t.Errorf("recorded: %q", got)
		}
		m.shows("ClockAhead: the clock is 10 years ahead")
		m.set(right)
		m.pass(0)
		m.holds(right)
		m.shows("")
	}
}

// A recorded time that is far ahead is replaced once the clock is confirmed, and not before.
func TestClockFileFarAhead(t *testing.T) {
	const file = "2040-01-01T00:00:00Z\n"
	m := newTestClock(t, file)
	if fixed, err := m.Fix(m.now); fixed || err == nil || !strings.Contains(err.Error(), "right, remove ") {
		t.Errorf("Fix = %v, %v", fixed, err)
	}
	m.pass(time.Hour)
	m.holds(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))
	m.shows("set the clock or, if it is right, remove memory/clock and restart")
	m.synchronised = true
	m.fix(false)
	m.pass(0)
	m.holds(m.now)
	m.shows("")
}

// A clock that is a little behind and may not be set stays behind, and the file stays.
func TestClockBehindIsNotSet(t *testing.T) {
	m := newTestClock(t, "2026-01-03T01:00:00Z\n")
	m.fails = errors.New("not permitted")
	if fixed, err := m.Fix(m.now); fixed || !errors.Is(err, m.fails) {
		t.Errorf("Fix = %v, %v", fixed, err)
	}
	m.pass(0)
	m.holds(time.Date(2026, 1, 3, 1, 0, 0, 0, time.UTC))
	m.shows("ClockBehind: the clock is 1h0m0s behind")
}

// A write that fails is tried again at the next Tick, not an hour later.
func TestClockWriteFails(t *testing.T) {
	c, err := OpenClock(&Dir{dir: "/proc/self/wirespan-test", log: hclog.NewNullLogger()}, ClockConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Tick(time.Unix(1e9, 0)); err == nil || !strings.Contains(err.Error(), "make the state directory writable") {
			t.Fatalf("Tick in a directory that isn't there = %v", err)
		}
	}
}
