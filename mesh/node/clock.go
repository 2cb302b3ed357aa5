package node

import (
	"os"
	"time"

	"github.com/wirespan/wirespan/mesh/state"
)

// openClock opens the recorded time. If the system clock is behind it, openClock sets
// the clock forward if this is root's agent and the configuration allows it.
func (n *Node) openClock() (*state.Clock, error) {
	clock, err := state.OpenClock(n.state)
	if err != nil {
		return nil, err
	}
	if behind := clock.Behind(time.Now()); behind > 0 && os.Geteuid() == 0 && n.cfg.Exclusive && !n.config.NoClockFix {
		if err := clock.Fix(); err != nil {
			n.log.Warn("the clock is behind this node's last run", "by", behind.String(), "error", err)
		} else {
			n.log.Warn("the clock was behind this node's last run and has been set forward", "by", behind.String())
		}
	}
	return clock, nil
}
