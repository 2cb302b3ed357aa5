package agent

import (
	"context"
	"time"
)

// What others change of routing and firewall is mended at once, but then not
// again before that long, and not for more than a share of the time: somebody may
// go on changing it.
const (
	minCalm   = 100 * time.Millisecond
	calmShare = 10
)

// wait blocks until there is a reason to look again.
func (a *Agent) wait(ctx context.Context, wake time.Duration) error {
	if a.cfg.Watchdog > 0 {
		a.cfg.Notify("WATCHDOG=1")
		wake = min(wake, a.cfg.Watchdog)
	}
	var events, gone, interference <-chan struct{}
	if a.device != nil {
		events, gone = a.device.Events(), a.device.Done()
	}
	if a.cfg.Firewall != nil {
		interference = a.cfg.Firewall.Changed()
	}
	if rest := time.Until(a.calm); rest > 0 {
		interference, wake = nil, min(wake, rest)
	}
	timer := time.NewTimer(wake)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-a.discoveries:
	case <-events:
	case <-a.cfg.Host.Changed():
		a.stale = true
	case <-interference:
		a.log.Debug("routing or firewall was changed from outside, looking again")
		a.stale, a.disturbed = true, true
	case <-gone:
		a.log.Warn("the tunnel device has gone, opening it again")
		a.closeDevice()
	case req := <-a.requests:
		return a.handle(ctx, req)
	}
	return nil
}
