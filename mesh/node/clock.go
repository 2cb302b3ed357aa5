package node

import (
	"os"
	"time"

	"github.com/wirespan/wirespan/mesh/state"
)

// openClock opens the recorded time. If the system clock is behind it, or before the
// program was built, openClock sets the clock forward if this is root's agent and the
// configuration allows it.
func (n *Node) openClock() (*state.Clock, error) {
	clock, err := state.OpenClock(n.state, state.ClockConfig{Built: n.cfg.Built})
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 || !n.cfg.Exclusive || n.config.NoClockFix {
		return clock, nil
	}
	behind := clock.Behind(time.Now())
	switch fixed, err := clock.Fix(time.Now()); {
	case fixed:
		n.log.Warn("the clock was behind and has been set forward: the time is a guess until a time service sets it", "by", behind.String())
		if err != nil {
			n.log.Warn("recording that", "error", err)
		}
	case err != nil:
		n.log.Warn("the clock is behind this node's last run", "by", behind.String(), "error", err)
	}
	return clock, nil
}
