package device

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// startWatcher runs a watcher on a device whose statistics take cost to read and
// have the sum that sum returns.
func startWatcher(t *testing.T, cost time.Duration, sum func() uint64) (signal, events mesh.Signal, reads *atomic.Int32) {
	t.Helper()
	signal, events, reads = mesh.NewSignal(), mesh.NewSignal(), new(atomic.Int32)
	w := handshakeWatcher{signal: signal, stopped: make(chan struct{}), changed: events.Notify, read: func() (uint64, error) {
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

func TestWatcherReportsCompletedHandshakes(t *testing.T) {
	for _, rtt := range []time.Duration{0, 5 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			signal, events, reads := startWatcher(t, 0, func() uint64 {
				if time.Since(start) < rtt {
					return 0
				}
				return 7
			})
			time.Sleep(time.Nanosecond)
			if reads.Load() != 0 {
				t.Error("read without a signal")
			}
			signal.Notify()
			<-events
			if took := time.Since(start); took > 2*rtt+2*firstPause {
				t.Errorf("round trip %v: reported after %v", rtt, took)
			}
			synctest.Wait()
			time.Sleep(10 * watchTime)
			before := reads.Load()
			time.Sleep(10 * watchTime)
			if reads.Load() != before || len(events) != 0 {
				t.Errorf("went on reading when all was quiet: %d, then %d", before, reads.Load())
			}
		})
	}
}

// Forged messages cause no event, and reads take a bounded share of the time.
func TestWatcherUnderFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cost = 2 * time.Millisecond
		signal, events, reads := startWatcher(t, cost, func() uint64 { return 0 })
		for range 10_000 {
			signal.Notify()
			time.Sleep(time.Millisecond)
		}
		if limit := int32(10*time.Second/(pauseFactor*cost)) + 1; reads.Load() > limit || reads.Load() < limit/2 {
			t.Errorf("%d reads, want about %d", reads.Load(), limit)
		}
		if len(events) != 0 {
			t.Error("reported a handshake that was never completed")
		}
	})
}

// A handshake that follows another one is noticed as soon as one that comes alone.
func TestWatcherIsQuickAfterAnotherHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, done := time.Now(), 1500*time.Millisecond
		signal, events, _ := startWatcher(t, 0, func() uint64 {
			if time.Since(start) < done {
				return 1
			}
			return 2
		})
		signal.Notify()
		<-events
		time.Sleep(done - 5*time.Millisecond - time.Since(start))
		signal.Notify()
		<-events
		if took := time.Since(start) - done; took > 2*firstPause {
			t.Errorf("noticed after %v", took)
		}
	})
}
