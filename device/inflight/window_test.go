package inflight

import (
	"testing"
	"testing/synctest"
	"time"
)

// admitN admits n packets of a flow and returns the last tag.
func admitN(t *testing.T, w *window, slot uint32, n int) (last tag) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		got, ok := w.admit(slot, time.Now())
		if !ok {
			t.Fatal("refused")
		}
		last = got
	}
	return last
}

func acknowledge(w *window, t tag) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acknowledge(t, time.Now())
	w.wake()
}

func TestAcknowledgementIsCumulative(t *testing.T) {
	w := &window{limit: 10, stallTime: outboundStallTime}
	last := admitN(t, w, 1, 8)
	other := admitN(t, w, 2, 3)
	if w.inFlight != 11 || w.hasRoom() {
		t.Fatalf("%d in flight", w.inFlight)
	}
	acknowledge(w, tag{1, last.seq - 2})
	if w.inFlight != 5 {
		t.Errorf("six have left, the first five of them unseen: %d in flight, want 5", w.inFlight)
	}
	for _, again := range []tag{{1, last.seq - 2}, {1, 0}, {1, last.seq + 1}, {1, last.seq + 1e9}, {slot: numSlots + 5}} {
		acknowledge(w, again)
		if w.inFlight != 5 {
			t.Errorf("tag %v: %d in flight, want 5", again, w.inFlight)
		}
	}
	acknowledge(w, last)
	acknowledge(w, other)
	if w.inFlight != 0 {
		t.Errorf("all have left: %d in flight", w.inFlight)
	}
}

func TestSequenceWrapsAround(t *testing.T) {
	w := &window{limit: 10, stallTime: outboundStallTime}
	w.slots[0].next, w.slots[0].acked = 0xfffffffe, 0xfffffffe
	last := admitN(t, w, 0, 4)
	acknowledge(w, tag{0, last.seq - 1})
	if w.inFlight != 1 || last.seq != 1 {
		t.Errorf("%d in flight, last %d", w.inFlight, last.seq)
	}
}

func TestWaitEndsWhenRoomIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 3, stallTime: outboundStallTime}
		room, timer := w.addWaiter(), time.NewTimer(0)
		last := admitN(t, w, 1, 4)
		start := time.Now()
		go func() {
			time.Sleep(outboundStallTime / 2)
			acknowledge(w, last)
		}()
		w.wait(room, timer)
		if got := time.Since(start); got != outboundStallTime/2 {
			t.Errorf("waited %v", got)
		}
	})
}

func TestStalledFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 3, stallTime: outboundStallTime}
		room, timer := w.addWaiter(), time.NewTimer(0)
		admitN(t, w, 1, 4)
		start := time.Now()
		w.wait(room, timer)
		if got := time.Since(start); got != outboundStallTime {
			t.Errorf("waited %v", got)
		}
		live := admitN(t, w, 2, 1)
		last := admitN(t, w, 1, stallBurst)
		if w.inFlight != 1 {
			t.Errorf("%d in flight, want 1: packets of the stalled flow count", w.inFlight)
		}
		if _, ok := w.admit(1, time.Now()); !ok {
			t.Error("refused the first probe")
		}
		if _, ok := w.admit(1, time.Now()); ok {
			t.Error("admitted another one at once")
		}
		time.Sleep(probeInterval)
		if _, ok := w.admit(1, time.Now()); !ok {
			t.Error("refused the next probe")
		}
		acknowledge(w, last)
		if w.slots[1].stalled || w.inFlight != 1+2 {
			t.Errorf("after an acknowledgement: stalled %v, %d in flight", w.slots[1].stalled, w.inFlight)
		}
		acknowledge(w, live)
		if w.inFlight != 2 {
			t.Errorf("%d in flight", w.inFlight)
		}
	})
}

func TestRemovedWaiter(t *testing.T) {
	w := &window{}
	a, b := w.addWaiter(), w.addWaiter()
	w.removeWaiter(a)
	w.removeWaiter(a)
	acknowledge(w, tag{})
	if len(a) != 0 || len(b) != 1 {
		t.Errorf("signals: %d to the removed one, %d to the other", len(a), len(b))
	}
}
