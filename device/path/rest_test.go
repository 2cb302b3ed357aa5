package path

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// crowd returns a node with peers that do not exist, each with some endpoints.
func crowd(peers, endpoints int) *node {
	w := newWorld(1)
	n := w.node()
	w.attach(n, liveRealm, noNAT)
	for i := range byte(peers) {
		var list []netip.AddrPort
		for j := range byte(endpoints) {
			list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, liveRealm, i, j}), 1000))
		}
		n.peer(w.node(), true).start(list...)
	}
	return n
}

// made returns how many initiations the devices of a node have made.
func (n *node) made() (count int) {
	for _, q := range n.peers {
		count += q.made
	}
	return count
}

// Handshakes with peers that do not answer become seldom, and next to none are made that are
// not sent.
func TestSearchesRest(t *testing.T) {
	for _, c := range []struct{ peers, endpoints, first, later int }{
		{1, 1, 12, 150},
		{20, 2, 20 * 12, 20 * 150},
		{20, 60, 20 * 40, 20 * 150},
	} {
		n := crowd(c.peers, c.endpoints)
		n.w.run(time.Minute)
		first := n.made()
		n.w.run(30 * time.Minute)
		before, sent := n.made(), len(n.strange)
		n.w.run(time.Hour)
		later := n.made() - before
		t.Logf("%d peers: %d handshakes in the first minute, %d in an hour later", c.peers, first, later)
		if first > c.first || later < 60*c.peers || later > c.later {
			t.Errorf("%d peers with %d endpoints: want at most %d and %d", c.peers, c.endpoints, c.first, c.later)
		}
		if got := len(n.strange) - sent; got < later*min(c.endpoints, maxSome)*9/10 {
			t.Errorf("%d peers with %d endpoints: only %d copies were sent of them", c.peers, c.endpoints, got)
		}
	}
}

// A reason to expect an answer ends the rest.
func TestRestEnds(t *testing.T) {
	at, other := addr(liveRealm, 7), addr(liveRealm, 8)
	for _, c := range []struct {
		name   string
		happen func(q *peering)
		within time.Duration
		other  bool // it goes elsewhere
	}{
		{"a packet", func(q *peering) { q.dev.sendData(payload, q.w.now) }, 0, false},
		{"a record", func(q *peering) { q.engine.News(q.w.now) }, 0, false},
		{"an endpoint", func(q *peering) { q.announce(at, other) }, holdBack, true},
		{"a change of the host", func(q *peering) { q.engine.Changed(q.w.now) }, holdBack, false},
		{"a call", func(q *peering) { q.engine.Responded(q.w.now, other) }, answerPause, true},
	} {
		n := crowd(1, 1)
		q := n.peers[0]
		q.announce(at)
		n.w.run(time.Hour)
		if !n.w.until(maxRest+longPatience, func() bool { return q.engine.restUntil.Sub(n.w.now) > maxRest/2 }) {
			t.Fatal("it does not rest")
		}
		to := at
		if c.other {
			to = other
		}
		before := len(n.sent[to])
		c.happen(q)
		q.step()
		n.w.run(c.within + time.Millisecond)
		if len(n.sent[to]) == before {
			t.Errorf("%s: no initiation within %v", c.name, c.within)
		}
	}
}

// Packets to a peer that does not answer are tried with a handshake in some seconds, all of
// which are sent.
func TestPacketsToTheDead(t *testing.T) {
	n := crowd(1, 1)
	n.w.run(time.Hour)
	q := n.peers[0]
	before, sent := q.made, len(n.strange)
	q.traffic(100 * time.Millisecond)
	n.w.run(10 * time.Minute)
	made, copies := q.made-before, len(n.strange)-sent
	if made < 60 || made > 130 || copies < made-1 {
		t.Errorf("%d handshakes in 10 min, of which %d were sent", made, copies)
	}
}

// Peers that wait for the budget get their turns in a line.
func TestWorkBudget(t *testing.T) {
	const cost = 50 * time.Millisecond
	b := &Budget{}
	b.Took(4 * cost) // the CPU was busy
	b.Took(cost)
	b.Took(time.Hour)
	if b.cost < cost || b.cost > cost*9/8 {
		t.Errorf("a handshake counts as %v, want about %v", b.cost, cost)
	}
	b.cost = cost
	for i := range 3 * workBurst {
		ok, _ := b.ready(false, epoch)
		if want := i < workBurst; ok != want {
			t.Fatalf("handshake %d: %v, want %v", i, ok, want)
		}
		b.worked(epoch) // also what others have started counts, within limits
	}
	var turns []time.Time
	for range 10 {
		_, turn := b.ready(false, epoch)
		turns = append(turns, turn)
	}
	gap := workShare * cost
	if !slices.IsSortedFunc(turns, time.Time.Compare) || turns[9].Sub(turns[0]) != 9*gap {
		t.Errorf("the turns are %v, want them %v apart", turns, gap)
	}
	now := epoch.Add(10 * time.Minute)
	handshakes := 0
	for end := now.Add(time.Minute); now.Before(end); now = now.Add(10 * time.Millisecond) {
		if ok, _ := b.ready(false, now); ok {
			b.worked(now)
			handshakes++
		}
	}
	if most := int(time.Minute/gap) + workBurst; handshakes > most || handshakes < most-1 {
		t.Errorf("%d handshakes in a minute, want %d", handshakes, most)
	}
}
