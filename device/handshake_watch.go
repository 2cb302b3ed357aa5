package device

import (
	"context"
	"time"
)

const (
	// After a handshake message came in, the watcher reads the statistics after
	// firstPause and then at doubling intervals, for watchTime: long enough for the
	// round trip that completes the handshake.
	firstPause = 10 * time.Millisecond
	watchTime  = 3 * time.Second
	// pauseFactor bounds the cost, whatever a flood of forged messages suggests:
	// after each read the watcher pauses for this many times as long as it took.
	pauseFactor = 50
)

// handshakeWatcher notices completed handshakes. Handshake messages, which anyone
// can send, tell it when to look.
type handshakeWatcher struct {
	signal  <-chan struct{}        // a handshake message came in
	stopped <-chan struct{}        // closed when the device has stopped
	read    func() (uint64, error) // a sum that differs after each handshake
	changed func()
	last    uint64 // sum
}

// run returns when ctx ends or the device has stopped.
func (w *handshakeWatcher) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.stopped:
			return
		case <-w.signal:
		}
		if !w.watch(ctx) {
			return
		}
	}
}

// watch reads until no handshake can follow from the last signal any more. It
// returns false if ctx has ended or the device has stopped.
func (w *handshakeWatcher) watch(ctx context.Context) bool {
	now := time.Now()
	until, due, earliest := now.Add(watchTime), now.Add(firstPause), now
	pause := firstPause
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.stopped:
			return false
		case <-w.signal: // another handshake, which may be done before the next read is due
			now = time.Now()
			until, pause = now.Add(watchTime), firstPause
			if soon := later(now.Add(firstPause), earliest); soon.Before(due) {
				due = soon
				timer.Reset(time.Until(due))
			}
			continue
		case <-timer.C:
		}
		cost := w.check()
		now = time.Now()
		if now.After(until) {
			return true
		}
		pause *= 2
		earliest = now.Add(pauseFactor * cost)
		due = later(now.Add(pause), earliest)
		timer.Reset(time.Until(due))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// check reads once, reports a change, and returns how long that took.
func (w *handshakeWatcher) check() time.Duration {
	start := time.Now()
	sum, err := w.read()
	if err == nil && sum != w.last {
		w.last = sum
		w.changed()
	}
	return time.Since(start)
}
