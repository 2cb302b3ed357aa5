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
	clockFile = "clock"
	// A clock that is believed is recorded so often, and another one more often: that is
	// how far the clock is set beyond what was recorded.
	clockInterval = time.Hour
	guessInterval = 10 * time.Minute
	// clockCredible is the largest step by which Fix sets a clock forward that may be right.
	// A file that is further ahead was more likely written while the clock was wrong.
	clockCredible = 30 * 24 * time.Hour
	// clockAhead is how far a clock may be beyond what was recorded, or the build of the
	// program, to be believed without confirmation.
	clockAhead = 5 * 365 * 24 * time.Hour
	// clockJump is how far somebody must have set the clock for that to count.
	clockJump = 2 * time.Second
)

// Conditions that concern the clock.
const (
	// ConditionClockBehind reports that the clock is behind the last recorded time, or
	// before the program was built.
	ConditionClockBehind mesh.ConditionType = "ClockBehind"
	// ConditionClockAhead reports that the clock is years ahead of the last recorded time.
	ConditionClockAhead mesh.ConditionType = "ClockAhead"
	// ConditionClockNotRecorded reports that [Clock.Tick] could not record the time.
	ConditionClockNotRecorded mesh.ConditionType = "ClockNotRecorded"
)

// ClockConfig says what a [Clock] goes by. Functions that are nil are the kernel's.
type ClockConfig struct {
	Built        time.Time             // when the program was: an earlier clock is wrong; zero: not known
	Synchronised func() bool           // reports whether a time service says that the clock is right
	Offset       func() time.Duration  // how far the clock is ahead of one that nobody sets
	Set          func(time.Time) error // sets the clock
}

// Clock records the time in the state directory and detects a system clock that is
// behind it, as on a machine without a battery-backed clock. WireGuard initiations
// carry a timestamp, and peers take an older one for a replay: with such a clock no
// tunnel comes up.
//
// A clock that Fix has set, or that is years ahead, is a guess until it is confirmed: by a
// time service that keeps it, or by somebody who sets it. Of a guess the file says that it
// is one: it is where the next guess goes on, and no time is behind it.
type Clock struct {
	st        *Dir
	cfg       ClockConfig
	good      time.Time // the last that was recorded
	guess     time.Time // likewise, of a clock that is a guess; zero: none
	confirmed bool
	offset    time.Duration // as last read
	written   time.Time
}

// OpenClock reads the recorded time. A damaged file counts as no file.
func OpenClock(st *Dir, cfg ClockConfig) (*Clock, error) {
	if cfg.Synchronised == nil {
		cfg.Synchronised = kernelSynchronised
	}
	if cfg.Offset == nil {
		cfg.Offset = kernelOffset
	}
	if cfg.Set == nil {
		cfg.Set = setKernel
	}
	c := &Clock{st: st, cfg: cfg, offset: cfg.Offset()}
	data, err := st.Read(clockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	good, guess, _ := strings.Cut(string(data), "\n")
	c.good, _ = time.Parse(time.RFC3339, good)
	c.guess, _ = time.Parse(time.RFC3339, strings.TrimSpace(guess))
	return c, nil
}

// base returns the latest time that has certainly passed.
func (c *Clock) base() time.Time { return later(c.good, c.cfg.Built) }

// floor is base, or the last guess if it can be believed: peers may have seen it.
func (c *Clock) floor() time.Time {
	if c.guess.Sub(c.base()) > clockAhead {
		return c.base()
	}
	return later(c.base(), c.guess)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Behind returns by how much now is behind what was recorded and the build of the program,
// or 0.
func (c *Clock) Behind(now time.Time) time.Duration { return max(0, c.floor().Sub(now)) }

// Fix sets a system clock that is behind forward, to a time that this node has not used
// yet, and reports whether it did. It needs CAP_SYS_TIME. It leaves a clock alone that the
// kernel says is synchronised. A clock that may be right is set forward by 30 days at most,
// since the file may be wrong.
func (c *Clock) Fix(now time.Time) (fixed bool, err error) {
	behind, possible := c.Behind(now), !now.Before(c.cfg.Built)
	switch {
	case behind == 0 || possible && c.cfg.Synchronised():
		return false, nil
	case possible && behind > clockCredible:
		return false, fmt.Errorf("not setting the clock: %s is too far ahead of it to be believed; if the clock is right, remove that file and restart", c.st.Path(clockFile))
	}
	to := later(c.cfg.Built, c.floor().Add(guessInterval))
	if !c.good.IsZero() {
		to = later(to, c.good.Add(clockInterval))
	}
	if err := c.cfg.Set(to); err != nil {
		return false, fmt.Errorf("setting the clock forward to %s: %w", to.Format(time.RFC3339), err)
	}
	c.offset, c.confirmed = c.cfg.Offset(), false
	return true, c.record(now, c.good, to)
}

// confirm looks for a reason to believe the clock.
func (c *Clock) confirm(now time.Time) {
	offset := c.cfg.Offset()
	stepped := (offset - c.offset).Abs() > clockJump
	c.offset = offset
	c.confirmed = !now.Before(c.cfg.Built) && (c.confirmed || stepped || c.cfg.Synchronised())
}

// ahead reports whether nothing confirms a clock that is years ahead.
func (c *Clock) ahead(now time.Time) bool {
	return !c.confirmed && !c.base().IsZero() && now.Sub(c.base()) > clockAhead
}

// Doubtful reports whether there is a reason not to believe now: it is behind what has
// certainly passed, or years ahead.
func (c *Clock) Doubtful(now time.Time) bool { return c.Behind(now) > 0 || c.ahead(now) }

// Tick records now, at most once an hour. It records no time before the recorded one, nor
// one that is years ahead, unless the clock is confirmed.
func (c *Clock) Tick(now time.Time) error {
	c.confirm(now)
	switch {
	case !c.confirmed && (now.Before(c.base()) || c.ahead(now)) || now.Before(c.cfg.Built):
		return nil
	case c.confirmed || c.guess.IsZero():
		if !c.guess.IsZero() || now.Before(c.good) || c.written.IsZero() || now.Sub(c.written) >= clockInterval {
			return c.record(now, now, time.Time{})
		}
	case now.Sub(c.guess) >= guessInterval:
		return c.record(now, c.good, now)
	}
	return nil
}

// record writes the file.
func (c *Clock) record(now, good, guess time.Time) error {
	text := good.UTC().Format(time.RFC3339) + "\n"
	if !guess.IsZero() {
		text += guess.UTC().Format(time.RFC3339) + "\n"
	}
	if err := c.st.Replace(clockFile, []byte(text)); err != nil {
		return fmt.Errorf("%w: make the state directory writable and free some space; until then a clock that falls behind goes unnoticed after a restart", err)
	}
	c.written, c.good, c.guess = now, good.Truncate(time.Second), guess.Truncate(time.Second)
	return nil
}

// Conditions returns a condition while the clock is behind, or years ahead, and nil
// otherwise.
func (c *Clock) Conditions(now time.Time) []mesh.Condition {
	behind := c.Behind(now).Round(time.Second)
	path := c.st.Path(clockFile)
	condition := mesh.Condition{Type: ConditionClockBehind, Subject: "clock"}
	switch {
	case c.ahead(now):
		condition.Type = ConditionClockAhead
		condition.Message = fmt.Sprintf("the clock is %d years ahead of this node's last run or the program's build (%s), and no time service confirms it: set the clock or, if it is right, write it to %s: date -u +%%FT%%TZ",
			int(now.Sub(c.base()).Hours()/24/365), c.base().UTC().Format(time.RFC3339), path)
	case c.Behind(now) == 0:
		return nil
	case now.Before(c.cfg.Built):
		condition.Message = fmt.Sprintf("the clock says %s, and this program was built at %s: set the clock; until then peers may take our handshakes for replays",
			now.UTC().Format(time.RFC3339), c.cfg.Built.UTC().Format(time.RFC3339))
	case behind > clockCredible:
		condition.Message = fmt.Sprintf("the clock is %s behind this node's last run (%s), which is hard to believe: set the clock or, if it is right, remove %s and restart",
			behind, c.floor().Format(time.RFC3339), path)
	default:
		condition.Message = fmt.Sprintf("the clock is %s behind this node's last run (%s): peers take our handshakes for replays until it is set",
			behind, c.floor().Format(time.RFC3339))
	}
	return []mesh.Condition{condition}
}

// Confirmed reports whether there is a reason to believe the clock, as of the last Tick.
func (c *Clock) Confirmed() bool { return c.confirmed }

// Offset returns how far the clock is ahead of one that nobody sets.
func (c *Clock) Offset() time.Duration { return c.cfg.Offset() }

// kernelSynchronised reports whether a time service keeps the clock synchronised,
// according to adjtimex(2).
func kernelSynchronised() bool {
	var t unix.Timex // Modes is zero: read only
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}

// kernelOffset compares with the time since the boot, in which the machine may have slept.
func kernelOffset() time.Duration {
	var wall, boot unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &wall) // neither fails
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	return time.Duration(wall.Nano() - boot.Nano())
}

func setKernel(to time.Time) error {
	tv := unix.NsecToTimeval(to.UnixNano())
	return unix.Settimeofday(&tv)
}
