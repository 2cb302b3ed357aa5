package inflight

import (
	"sync"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// numSlots is the number of flow slots. Flows that share a slot share its fate:
	// beside a stalled flow, another may lose its first packets.
	numSlots = 1 << 10
	// A flow has stalled when nothing of it has left for this long. Outbound, its
	// packets wait in the device for a session, or were lost. Inbound they were
	// lost, and a stalled flow is refused nothing; but as long as it counts, what
	// an observer or a peer can have dropped takes up room that others need.
	outboundStallTime = 100 * time.Millisecond
	inboundStallTime  = 10 * time.Millisecond
	// Of a stalled flow, stallBurst packets are admitted at once, and then one per
	// probeInterval, so that it can recover. The others are refused.
	stallBurst    = 32
	probeInterval = 50 * time.Millisecond
)

// window bounds the packets in flight between two points. Packets of a flow keep
// their order in between, and can be lost without notice.
type window struct {
	limit     int           // packets in flight; the last batch that was admitted may exceed it
	stallTime time.Duration // after which a flow counts as stalled

	mu       sync.Mutex // guards what follows
	inFlight int        // packets, without those of stalled flows
	patience time.Time  // until then no flow stalls
	slots    [numSlots]slot
	waiters  []mesh.Signal
}

// slot is the state of a flow. Its packets in flight are those with the sequence
// numbers from acked up to next, without the latter. Both wrap around.
type slot struct {
	next, acked uint32
	stalled     bool
	burst       uint8 // packets that a stalled flow may still send at once
	// moved is when the flow last made progress: a packet was acknowledged, or
	// admitted while none was in flight. While the flow is stalled, it is when the
	// last probe was admitted.
	moved time.Time
}

func (s *slot) inFlight() int { return int(s.next - s.acked) }

// addWaiter returns a signal for wait. It belongs to one goroutine.
func (w *window) addWaiter() mesh.Signal {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := mesh.NewSignal()
	w.waiters = append(w.waiters, c)
	return c
}

// removeWaiter undoes addWaiter. It may be called again for the same waiter.
func (w *window) removeWaiter(c mesh.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.waiters {
		if w.waiters[i] == c {
			w.waiters = append(w.waiters[:i], w.waiters[i+1:]...)
			return
		}
	}
}

// bePatient says until when no flow stalls.
func (w *window) bePatient(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patience = until
}

// wait returns when there is room for another batch.
func (w *window) wait(c mesh.Signal, timer *time.Timer) {
	for !w.hasRoom() {
		timer.Reset(w.stallTime)
		select {
		case <-c:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// hasRoom reports whether another batch may be admitted. If the window is full,
// it first takes stalled flows out of the count.
func (w *window) hasRoom() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inFlight <= w.limit {
		return true
	}
	now := time.Now()
	if now.Before(w.patience) {
		return false
	}
	for i := range w.slots {
		s := &w.slots[i]
		if !s.stalled && s.next != s.acked && now.Sub(s.moved) >= w.stallTime {
			s.stalled, s.burst = true, stallBurst
			w.inFlight -= s.inFlight()
		}
	}
	return w.inFlight <= w.limit
}

// admit counts a packet of the flow in slot i and returns its tag. It returns
// false if the flow is stalled and has used up what it may send. The caller
// holds mu.
func (w *window) admit(i uint32, now time.Time) (tag, bool) {
	s := &w.slots[i]
	switch {
	case !s.stalled:
		w.inFlight++
		if s.next == s.acked {
			s.moved = now
		}
	case s.burst > 0:
		s.burst--
	case now.Sub(s.moved) < probeInterval:
		return tag{}, false
	default:
		s.moved = now
	}
	t := tag{i, s.next}
	s.next++
	return t, true
}

// acknowledge takes a packet and all earlier ones of its flow out of the count,
// and ends a stall. It ignores a tag of which no packet is in flight. The caller
// holds mu.
func (w *window) acknowledge(t tag, now time.Time) {
	if t.slot >= numSlots {
		return
	}
	s := &w.slots[t.slot]
	acked := t.seq + 1 - s.acked
	if acked-1 >= s.next-s.acked { // acknowledged before, or never admitted
		return
	}
	if s.stalled {
		s.stalled = false
		w.inFlight += s.inFlight()
	}
	s.acked += acked
	s.moved = now
	w.inFlight -= int(acked)
}

// wake notifies all waiters if there is room. The caller holds mu.
func (w *window) wake() {
	if w.inFlight > w.limit {
		return
	}
	for _, c := range w.waiters {
		c.Notify()
	}
}
