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
	// clockCredible bounds how far behind a clock is set forward: a file that is
	// further ahead was more likely written under a clock that was wrong then.
	clockCredible = 30 * 24 * time.Hour

	ConditionClockBehind      mesh.ConditionType = "ClockBehind"
	ConditionClockNotRecorded mesh.ConditionType = "ClockNotRecorded"
)

// Clock guards against a clock behind this node's last run (a box without a
// battery-backed one): WireGuard initiations carry a timestamp, and peers take
// an older one for a replay, so that no tunnel would come up.
type Clock struct {
	st           *Dir
	lastGood     time.Time
	written      time.Time
	synchronised func() bool // whether the kernel says that now is right
}

// clockVerdict is what to think of the clock and of the file.
type clockVerdict int

const (
	clockGood    clockVerdict = iota // not behind
	clockSettle                      // behind, and may be set forward
	clockBehind                      // behind, but not ours to set
	clockDoubted                     // so far behind that the file is doubted
	clockDamaged                     // likewise, and the clock is known to be right
)

// judgeClock decides by how much the clock is behind, and whether the kernel
// says that it is synchronised.
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

// OpenClock reads the last good time; a damaged file counts as none.
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

// Behind reports by how much now is behind the last good time; 0 if it is not.
func (c *Clock) Behind(now time.Time) time.Duration {
	return max(0, c.lastGood.Sub(now))
}

// Fix sets the system clock to a time that this node can't have used yet: the
// last good one, and the interval in which no newer one was recorded. It needs
// CAP_SYS_TIME, and refuses to touch a clock that the kernel says is right, or
// to set it far forward on the word of one file.
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

// kernelSynchronised reports whether some time service keeps the clock right,
// as adjtimex(2) tells.
func kernelSynchronised() bool {
	var t unix.Timex // Modes zero: only read
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}

// Tick records now as good, at most hourly, unless it is behind what can be
// believed.
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

// conditions says that the clock is behind, while it is.
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
