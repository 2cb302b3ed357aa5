package state

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

const (
	clockFile     = "clock"
	clockInterval = time.Hour
	// clockCredible is the largest step by which Fix sets a clock forward. A file that
	// is further ahead was more likely written while the clock was wrong.
	clockCredible = 30 * 24 * time.Hour
)

// Conditions that concern the clock.
const (
	// ConditionClockBehind reports that the clock is behind the last recorded time.
	ConditionClockBehind mesh.ConditionType = "ClockBehind"
	// ConditionClockNotRecorded reports that [Clock.Tick] could not record the time.
	ConditionClockNotRecorded mesh.ConditionType = "ClockNotRecorded"
)

// Clock records the time in the state directory and detects a system clock that is
// behind it, as on a machine without a battery-backed clock. WireGuard initiations
// carry a timestamp, and peers take an older one for a replay: with such a clock no
// tunnel comes up.
type Clock struct {
	st           *Dir
	lastGood     time.Time
	written      time.Time
	synchronised func() bool // reports whether the kernel says that the clock is right
}

// clockVerdict judges the system clock against the recorded time.
type clockVerdict int

const (
	clockGood    clockVerdict = iota // not behind
	clockSettle                      // behind; Fix may set it forward
	clockBehind                      // behind, but synchronised: Fix leaves it alone
	clockDoubted                     // too far behind for the file to be credible
	clockDamaged                     // as clockDoubted, and synchronised: the file is wrong
)

// judgeClock judges a clock that is behind the recorded time, given whether the
// kernel says that it is synchronised.
func judgeClock(behind time.Duration, synchronised bool) clockVerdict {
	switch {
	case behind <= 0:
		return clockGood
	case behind > clockCredible && synchronised:
		return clockDamaged
	case behind > clockCredible:
		return clockDoubted
	case synchronised:
		return clockBehind
	}
	return clockSettle
}

// OpenClock reads the recorded time. A damaged file counts as no file.
func OpenClock(st *Dir) (*Clock, error) {
	c := &Clock{st: st, synchronised: kernelSynchronised}
	data, err := st.Read(clockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	c.lastGood, _ = time.Parse(time.RFC3339, strings.TrimSpace(string(data)))
	return c, nil
}

// Behind returns by how much now is behind the recorded time, or 0.
func (c *Clock) Behind(now time.Time) time.Duration {
	return max(0, c.lastGood.Sub(now))
}

// Fix sets a system clock that is behind forward to a time that this node has not
// used yet: the recorded time plus the recording interval. It needs CAP_SYS_TIME. It
// refuses to change a clock that the kernel says is synchronised, and to set a clock
// forward by more than 30 days, since the file may be wrong.
func (c *Clock) Fix() error {
	switch judgeClock(c.Behind(time.Now()), c.synchronised()) {
	case clockGood:
		return nil
	case clockBehind, clockDamaged:
		return fmt.Errorf("not setting the clock: it is synchronised; if it is right, remove %s and restart", c.st.Path(clockFile))
	case clockDoubted:
		return fmt.Errorf("not setting the clock: %s is too far ahead of it to be believed; if the clock is right, remove that file and restart", c.st.Path(clockFile))
	}
	to := c.lastGood.Add(clockInterval)
	tv := unix.NsecToTimeval(to.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("setting the clock forward to %s: %w", to.Format(time.RFC3339), err)
	}
	return nil
}

// kernelSynchronised reports whether a time service keeps the clock synchronised,
// according to adjtimex(2).
func kernelSynchronised() bool {
	var t unix.Timex // Modes is zero: read only
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}

// Tick records now, at most once an hour. It does not record a time before the recorded
// one, unless the file is judged to be wrong.
func (c *Clock) Tick(now time.Time) error {
	damaged := false
	if behind := c.Behind(now); behind > 0 {
		if damaged = judgeClock(behind, c.synchronised()) == clockDamaged; !damaged {
			return nil
		}
	}
	if !damaged && now.Sub(c.written) < clockInterval {
		return nil
	}
	if err := c.st.Replace(clockFile, []byte(now.UTC().Format(time.RFC3339)+"\n")); err != nil {
		return fmt.Errorf("%w: make the state directory writable and free some space; until then a clock that falls behind goes unnoticed after a restart", err)
	}
	c.written, c.lastGood = now, now.Truncate(time.Second)
	return nil
}

// Conditions returns a condition while the clock is behind, and nil otherwise.
func (c *Clock) Conditions(now time.Time) []mesh.Condition {
	behind := c.Behind(now)
	if behind == 0 {
		return nil
	}
	message := fmt.Sprintf("the clock is %s behind this node's last run (%s): peers take our handshakes for replays until it is set",
		behind.Round(time.Second), c.lastGood.Format(time.RFC3339))
	if behind > clockCredible {
		message = fmt.Sprintf("the clock is %s behind this node's last run (%s), which is hard to believe: set the clock or, if it is right, remove %s and restart",
			behind.Round(time.Second), c.lastGood.Format(time.RFC3339), c.st.Path(clockFile))
	}
	return []mesh.Condition{{Type: ConditionClockBehind, Subject: "clock", Message: message}}
}
