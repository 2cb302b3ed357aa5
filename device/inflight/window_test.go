package inflight

import (
	"testing"
	"testing/synctest"
	"time"
)

// enterN lets n packets of a flow in and returns the last ticket.
func enterN(t *testing.T, w *window, cell uint32, n int) (last ticket) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		got, ok := w.enter(cell, time.Now())
		if !ok {
			t.Fatal("refused")
		}
		last = got
	}
	return last
}

func arrive(w *window, t ticket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrive(t, time.Now())
	w.wake()
}

func TestLaterArrivalSettlesEarlierOnes(t *testing.T) {
	w := &window{limit: 10, stale: staleOut}
	last := enterN(t, w, 1, 8)
	other := enterN(t, w, 2, 3)
	if w.count != 11 || w.room() {
		t.Fatalf("count %d", w.count)
	}
	arrive(w, ticket{1, last.seq - 2})
	if w.count != 5 {
		t.Errorf("six arrived, the first five of them unseen: count %d, want 5", w.count)
	}
	for _, again := range []ticket{{1, last.seq - 2}, {1, 0}, {1, last.seq + 1}, {1, last.seq + 1e9}, {cell: flightCells + 5}} {
		arrive(w, again)
		if w.count != 5 {
			t.Errorf("ticket %v: count %d, want 5", again, w.count)
		}
	}
	arrive(w, last)
	arrive(w, other)
	if w.count != 0 {
		t.Errorf("all arrived: count %d", w.count)
	}
}

func TestSequenceWrapsAround(t *testing.T) {
	w := &window{limit: 10, stale: staleOut}
	w.cells[0].issued, w.cells[0].arrived = 0xfffffffe, 0xfffffffe
	last := enterN(t, w, 0, 4)
	arrive(w, ticket{0, last.seq - 1})
	if w.count != 1 || last.seq != 1 {
		t.Errorf("count %d, last %d", w.count, last.seq)
	}
}

func TestWaitEndsWhenRoomIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 3, stale: staleOut}
		room, timer := w.waiter(), time.NewTimer(0)
		last := enterN(t, w, 1, 4)
		start := time.Now()
		go func() {
			time.Sleep(staleOut / 2)
			arrive(w, last)
		}()
		w.wait(room, timer)
		if got := time.Since(start); got != staleOut/2 {
			t.Errorf("waited %v", got)
		}
	})
}

func TestFlowThatStandsStillIsParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 3, stale: staleOut}
		room, timer := w.waiter(), time.NewTimer(0)
		last := enterN(t, w, 1, 4)
		start := time.Now()
		w.wait(room, timer)
		if got := time.Since(start); got != staleOut {
			t.Errorf("waited %v", got)
		}
		live := enterN(t, w, 2, 1)
		last = enterN(t, w, 1, grace)
		if w.count != 1 {
			t.Errorf("parked packets count: %d, want 1", w.count)
		}
		if _, ok := w.enter(1, time.Now()); !ok {
			t.Error("refused the first after its last move was long ago")
		}
		if _, ok := w.enter(1, time.Now()); ok {
			t.Error("let another in at once")
		}
		time.Sleep(knock)
		if _, ok := w.enter(1, time.Now()); !ok {
			t.Error("refused after the time for one more")
		}
		arrive(w, last)
		if w.cells[1].parked || w.count != 1+2 {
			t.Errorf("an arrival ends parking and settles: parked %v, count %d", w.cells[1].parked, w.count)
		}
		arrive(w, live)
		if w.count != 2 {
			t.Errorf("count %d", w.count)
		}
	})
}

func TestForgottenWaiter(t *testing.T) {
	w := &window{}
	a, b := w.waiter(), w.waiter()
	w.forget(a)
	w.forget(a)
	arrive(w, ticket{})
	if len(a) != 0 || len(b) != 1 {
		t.Errorf("signals: %d to the forgotten, %d to the other", len(a), len(b))
	}
}
