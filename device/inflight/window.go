package inflight

import (
	"sync"
	"time"
)

const (
	// flightCells is how many flows are told apart. Two that share a cell share
	// its fate: beside one that is parked, another may lose its first packets.
	flightCells = 1 << 10
	// How long a flow may stand still before its packets no longer count: they
	// are parked in the device for want of a session, or lost there. Inwards they
	// are lost, parked flows are not refused anything, and whatever an observer
	// or a peer can have thrown away would hold up everyone for that long.
	staleOut = 100 * time.Millisecond
	staleIn  = 10 * time.Millisecond
	// A parked flow lets this many packets in at once, and then one each
	// knock, so that it can move again; the others are refused.
	grace = 32
	knock = 50 * time.Millisecond
)

// ticket says which packet of which flow this is. It travels with the packet.
type ticket struct {
	cell uint32 // index of the flow's cell
	seq  uint32 // among the packets of that cell
}

// window bounds the packets between two points that keep the order within each
// flow, between which packets can vanish unseen. A packet that arrives settles
// all earlier ones of its flow, so what vanished is made good by whatever comes
// next; if nothing comes, the flow is parked after a while and no longer counts.
// Waiting therefore always ends.
type window struct {
	limit int           // packets under way; more may be let in by the last batch
	stale time.Duration // how long a flow may stand still

	mu      sync.Mutex // guards what follows
	count   int        // packets under way, but for those of parked flows
	cells   [flightCells]cell
	waiters []chan struct{}
}

// cell is a flow; its packets under way are issued-arrived.
type cell struct {
	issued, arrived uint32
	parked          bool
	grace           uint8
	// moved is when a packet last arrived, or entered the empty cell; while
	// parked, when one was last let in.
	moved time.Time
}

// waiter returns the channel that one goroutine hands to wait each time.
func (w *window) waiter() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan struct{}, 1)
	w.waiters = append(w.waiters, c)
	return c
}

// forget ends the use of a waiter.
func (w *window) forget(c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.waiters {
		if w.waiters[i] == c {
			w.waiters = append(w.waiters[:i], w.waiters[i+1:]...)
			return
		}
	}
}

// wait returns when there is room.
func (w *window) wait(c chan struct{}, timer *time.Timer) {
	for !w.room() {
		timer.Reset(w.stale)
		select {
		case <-c:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// room reports whether there is any, parking flows that stand still if not.
func (w *window) room() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count <= w.limit {
		return true
	}
	now := time.Now()
	for i := range w.cells {
		c := &w.cells[i]
		if !c.parked && c.issued != c.arrived && now.Sub(c.moved) >= w.stale {
			c.parked, c.grace = true, grace
			w.count -= int(c.issued - c.arrived)
		}
	}
	return w.count <= w.limit
}

// enter issues a ticket; false if the flow is parked and has had its share. The
// caller holds mu.
func (w *window) enter(i uint32, now time.Time) (ticket, bool) {
	c := &w.cells[i]
	switch {
	case !c.parked:
		w.count++
		if c.issued == c.arrived {
			c.moved = now
		}
	case c.grace > 0:
		c.grace--
	case now.Sub(c.moved) < knock:
		return ticket{}, false
	default:
		c.moved = now
	}
	t := ticket{i, c.issued}
	c.issued++
	return t, true
}

// arrive settles a ticket and all earlier ones of its flow; any other ticket is
// ignored. The caller holds mu.
func (w *window) arrive(t ticket, now time.Time) {
	if t.cell >= flightCells {
		return
	}
	c := &w.cells[t.cell]
	settled := t.seq + 1 - c.arrived
	if settled-1 >= c.issued-c.arrived { // settled already
		return
	}
	if c.parked {
		c.parked = false
		w.count += int(c.issued - c.arrived)
	}
	c.arrived += settled
	c.moved = now
	w.count -= int(settled)
}

// wake tells all waiters of room, if there is some. The caller holds mu.
func (w *window) wake() {
	if w.count > w.limit {
		return
	}
	for _, c := range w.waiters {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
