package agent

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

	conditionClockBehind mesh.ConditionType = "ClockBehind"
)

// Clock guards against a clock behind this node's last run (a box without a
// battery-backed one): WireGuard initiations carry a timestamp, and peers take
// an older one for a replay, so that no tunnel would come up.
type Clock struct {
	st       *State
	lastGood time.Time
	written  time.Time
}

// OpenClock reads the last good time; a damaged file counts as none.
func OpenClock(st *State) (*Clock, error) {
	c := &Clock{st: st}
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
// CAP_SYS_TIME.
func (c *Clock) Fix() error {
	to := c.lastGood.Add(clockInterval)
	tv := unix.NsecToTimeval(to.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("setting the clock forward to %s: %w", to.Format(time.RFC3339), err)
	}
	return nil
}

// Tick records now as good, at most hourly, unless it is behind.
func (c *Clock) Tick(now time.Time) error {
	if c.Behind(now) > 0 || now.Sub(c.written) < clockInterval {
		return nil
	}
	if err := c.st.Replace(clockFile, []byte(now.UTC().Format(time.RFC3339)+"\n")); err != nil {
		return err
	}
	c.written, c.lastGood = now, now.Truncate(time.Second)
	return nil
}

// conditions says that the clock is behind, while it is.
func (c *Clock) conditions(now time.Time) []mesh.Condition {
	behind := c.Behind(now)
	if behind == 0 {
		return nil
	}
	return []mesh.Condition{{
		Type: conditionClockBehind, Subject: "clock",
		Message: fmt.Sprintf("the clock is %s behind this node's last run (%s): peers take our handshakes for replays until it is set",
			behind.Round(time.Second), c.lastGood.Format(time.RFC3339)),
	}}
}
