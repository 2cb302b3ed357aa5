package device

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeWatch runs a watcher whose device needs cost to read and has the sum that
// sum tells.
func fakeWatch(t *testing.T, cost time.Duration, sum func() uint64) (signal, events chan struct{}, reads *atomic.Int32) {
	t.Helper()
	signal, events, reads = make(chan struct{}, 1), make(chan struct{}, 1), new(atomic.Int32)
	told := func() {
		select {
		case events <- struct{}{}:
		default:
		}
	}
	w := watcher{signal: signal, gone: make(chan struct{}), changed: told, read: func() (uint64, error) {
		reads.Add(1)
		time.Sleep(cost)
		return sum(), nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return signal, events, reads
}

func TestWatcherTellsOfCompletedHandshakes(t *testing.T) {
	for _, rtt := range []time.Duration{0, 5 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			signal, events, reads := fakeWatch(t, 0, func() uint64 {
				if time.Since(start) < rtt {
					return 0
				}
				return 7
			})
			time.Sleep(time.Nanosecond)
			if reads.Load() != 0 {
				t.Error("read without a signal")
			}
			signal <- struct{}{}
			<-events
			if took := time.Since(start); took > 2*rtt+2*firstLook {
				t.Errorf("round trip %v: told after %v", rtt, took)
			}
			synctest.Wait()
			time.Sleep(10 * watchFor)
			before := reads.Load()
			time.Sleep(10 * watchFor)
			if reads.Load() != before || len(events) != 0 {
				t.Errorf("went on reading when all was quiet: %d, then %d", before, reads.Load())
			}
		})
	}
}

// Forged messages tell of nothing, and cost no more than their share.
func TestWatcherUnderFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cost = 2 * time.Millisecond
		signal, events, reads := fakeWatch(t, cost, func() uint64 { return 0 })
		for range 10_000 {
			select {
			case signal <- struct{}{}:
			default:
			}
			time.Sleep(time.Millisecond)
		}
		if limit := int32(10*time.Second/(lookShare*cost)) + 1; reads.Load() > limit || reads.Load() < limit/2 {
			t.Errorf("%d reads, want about %d", reads.Load(), limit)
		}
		if len(events) != 0 {
			t.Error("told of a handshake that never was")
		}
	})
}
