package device

import (
	"context"
	"time"
)

const (
	// After a handshake message came in, statistics are looked at after
	// firstLook and then at doubling intervals for watchFor: long enough for the
	// round trip that completes the handshake.
	firstLook = 10 * time.Millisecond
	watchFor  = 3 * time.Second
	// lookShare bounds the cost: a look is followed by a pause of this many
	// times what it took, whatever a flood of forged messages suggests.
	lookShare = 50
)

// watcher turns handshake messages, which anyone can send, into events that
// tell of completed handshakes.
type watcher struct {
	signal  <-chan struct{}
	gone    <-chan struct{}
	read    func() (uint64, error)
	changed func()
	last    uint64
}

// run returns when ctx ends or the device is gone.
func (w *watcher) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.gone:
			return
		case <-w.signal:
		}
		if !w.watch(ctx) {
			return
		}
	}
}

// watch looks until nothing can follow from the last signal any more.
func (w *watcher) watch(ctx context.Context) bool {
	until := time.Now().Add(watchFor)
	pause := firstLook
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.gone:
			return false
		case <-timer.C:
		}
		cost := w.look()
		pause *= 2
		select {
		case <-w.signal:
			until, pause = time.Now().Add(watchFor), firstLook
		default:
		}
		if time.Now().After(until) {
			return true
		}
		pause = max(pause, lookShare*cost)
		timer.Reset(pause)
	}
}

// look reads once, tells of a change, and returns what it cost.
func (w *watcher) look() time.Duration {
	start := time.Now()
	sum, err := w.read()
	if err == nil && sum != w.last {
		w.last = sum
		w.changed()
	}
	return time.Since(start)
}
