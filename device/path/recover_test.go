package path

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// pair is two nodes with several paths between them.
type pair struct {
	*world
	a, b   *peering
	ai, bi []*iface
}

// settledPair returns nodes that have been connected for 20 s.
func settledPair(t *testing.T, seed int64, paths int, set way, farEngine bool) *pair {
	t.Helper()
	w := newWorld(seed)
	x, y := w.node(), w.node()
	p := &pair{world: w}
	var toX, toY []netip.AddrPort
	for r := range paths {
		i, j := w.attach(x, byte(1+r), noNAT), w.attach(y, byte(1+r), noNAT)
		w.join(i, j, set)
		p.ai, p.bi = append(p.ai, i), append(p.bi, j)
		toX, toY = append(toX, i.addr), append(toY, j.addr)
	}
	p.a, p.b = x.peer(y, true), y.peer(x, farEngine)
	p.a.start(toY...)
	p.b.start(toX...)
	if !w.until(40*time.Second, func() bool { return !p.a.first.IsZero() && !p.b.first.IsZero() }) {
		t.Fatalf("seed %d: no session in 40 s", seed)
	}
	w.run(20 * time.Second)
	return p
}

// inUse returns the number of the path that a side sends on.
func (p *pair) inUse(q *peering) int {
	list := p.bi
	if q == p.b {
		list = p.ai
	}
	return slices.IndexFunc(list, func(i *iface) bool { return i.addr == q.dev.endpoint })
}

// traffic has a side send payload from now on, which is answered.
func (q *peering) traffic(interval time.Duration) {
	q.w.every(interval, func() { q.dev.sendData(payload, q.w.now) })
}

// gap returns the longest time without an answer to payload since a time.
func (q *peering) gap(since time.Time) (longest time.Duration) {
	for _, at := range append(slices.Clone(q.echoed), q.w.now) {
		if at.After(since) {
			longest = max(longest, at.Sub(since))
			since = at
		}
	}
	return longest
}

type cutCase struct {
	name      string
	there     bool // from the side that starts traffic to the other
	back      bool
	farEngine bool
	byFar     bool // the far side starts the traffic
}

var cutCases = []cutCase{
	{"both directions", true, true, true, false},
	{"there", true, false, true, false},
	{"back", false, true, true, false},
	{"both, far is upstream", true, true, false, false},
	{"there, far is upstream", true, false, false, false},
	{"back, far is upstream", false, true, false, false},
	{"both, traffic of upstream", true, true, false, true},
}

// cutInUse cuts the path that a side sends on.
func (p *pair) cutInUse(c cutCase) {
	n := p.inUse(p.a)
	if c.there {
		p.way(p.ai[n], p.bi[n]).cut = true
	}
	if c.back {
		p.way(p.bi[n], p.ai[n]).cut = true
	}
}

// Payload flows again within 6 s (in fact 3 s) after the path in use was cut.
func TestCutUnderTraffic(t *testing.T) {
	for _, c := range cutCases {
		for _, delay := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond} {
			var worst time.Duration
			for seed := range int64(10) {
				p := settledPair(t, seed, 2+int(seed%3), way{delay: delay}, c.farEngine)
				p.run(time.Duration(p.rng.Intn(200000)) * time.Millisecond)
				who := p.a
				if c.byFar {
					who = p.b
				}
				who.traffic(time.Duration(20+p.rng.Intn(300)) * time.Millisecond)
				p.run(5 * time.Second)
				p.cutInUse(c)
				cut := p.now
				p.run(15 * time.Second)
				got := who.gap(cut)
				worst = max(worst, got)
				limit := 6 * time.Second
				if delay < 100*time.Millisecond {
					limit = 4 * time.Second
				}
				if got > limit {
					t.Errorf("%s, delay %v, seed %d: %v without payload", c.name, delay, seed, got)
				}
			}
			t.Logf("%-26s delay %5v: at most %6.3fs", c.name, delay, worst.Seconds())
		}
	}
}

// A path to which this host refuses to send is left at once.
func TestRefusedUnderTraffic(t *testing.T) {
	for seed := range int64(20) {
		p := settledPair(t, seed, 2, way{delay: 20 * time.Millisecond}, seed%2 == 0)
		p.a.traffic(100 * time.Millisecond)
		p.run(5 * time.Second)
		p.rejects[p.a.dev.endpoint] = true
		since := p.now
		p.run(10 * time.Second)
		if got := p.a.gap(since); got > 500*time.Millisecond {
			t.Errorf("seed %d: %v without payload", seed, got)
		}
	}
}

// An idle path is found to be cut within 35 s.
func TestCutIdle(t *testing.T) {
	for _, c := range cutCases[:6] {
		for _, delay := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond} {
			var worst time.Duration
			for seed := range int64(10) {
				p := settledPair(t, seed, 2+int(seed%3), way{delay: delay}, c.farEngine)
				p.run(time.Duration(p.rng.Intn(200000)) * time.Millisecond)
				p.cutInUse(c)
				cut := p.now
				p.until(5*time.Minute, p.works)
				got := p.now.Sub(cut)
				worst = max(worst, got)
				limit := 35 * time.Second
				if c.there && !c.back && !c.farEngine {
					limit = 140 * time.Second // its keepalives arrive: the next handshake tells
				}
				if got > limit {
					t.Errorf("%s, delay %v, seed %d: %v", c.name, delay, seed, got)
				}
			}
			t.Logf("%-26s delay %5v: at most %6.3fs", c.name, delay, worst.Seconds())
		}
	}
}

// works reports whether both sides send on a path that works, with a session.
func (p *pair) works() bool {
	for _, q := range []*peering{p.a, p.b} {
		far := p.b
		from, to := p.ai, p.bi
		if q == p.b {
			far, from, to = p.a, p.bi, p.ai
		}
		n := p.inUse(q)
		if n < 0 || p.way(from[n], to[n]).cut || !q.dev.usable(far.dev) {
			return false
		}
	}
	return true
}

// usable reports whether the far side would take what this device sends now.
func (d *device) usable(far *device) bool {
	k := d.current
	if k == nil || k.expired || d.w.now.Sub(k.created) >= rejectAfter {
		return false
	}
	return slices.ContainsFunc([]*keypair{far.current, far.next, far.previous}, func(o *keypair) bool { return o != nil && o.id == k.id })
}

// changes returns how often both sides have changed the path.
func (p *pair) changes() int {
	n := p.a.engine.Status(p.now).Changes
	if p.b.engine != nil {
		n += p.b.engine.Status(p.now).Changes
	}
	return n
}

// Jitter and loss alone never move a path.
func TestNoFalseAlarm(t *testing.T) {
	for _, c := range []struct {
		name    string
		set     way
		traffic time.Duration
		far     bool
	}{
		{"idle, jitter", way{delay: 20 * time.Millisecond, jitter: 80 * time.Millisecond}, 0, true},
		{"idle, much jitter", way{delay: 100 * time.Millisecond, jitter: 400 * time.Millisecond}, 0, true},
		{"idle, 1 %", way{delay: 20 * time.Millisecond, loss: 0.01}, 0, true},
		{"traffic, 1 %", way{delay: 20 * time.Millisecond, loss: 0.01}, 200 * time.Millisecond, true},
		{"idle, 30 %", way{delay: 20 * time.Millisecond, loss: 0.3}, 0, true},
		{"traffic, 30 %", way{delay: 20 * time.Millisecond, loss: 0.3}, 200 * time.Millisecond, true},
		{"sparse traffic, 30 %", way{delay: 20 * time.Millisecond, loss: 0.3}, 4 * time.Second, true},
		{"upstream, idle, 30 %", way{delay: 20 * time.Millisecond, loss: 0.3}, 0, false},
		{"upstream, traffic, 30 %", way{delay: 20 * time.Millisecond, loss: 0.3}, 200 * time.Millisecond, false},
	} {
		total, worst := 0, time.Duration(0)
		for seed := range int64(6) {
			p := settledPair(t, seed, 2, c.set, c.far)
			p.run(time.Minute)
			before := p.changes()
			if c.traffic > 0 {
				p.a.traffic(c.traffic)
			}
			since := p.now
			p.run(10 * time.Minute)
			total += p.changes() - before
			if c.traffic > 0 {
				worst = max(worst, p.a.gap(since))
			}
			if got := p.changes() - before; got > 0 {
				t.Errorf("%s, seed %d: %d changes", c.name, seed, got)
			}
		}
		t.Logf("%-24s %d changes in 6 × 10 min, longest gap %v", c.name, total, worst)
	}
}

// A node that moves every 20 s never loses more than 2 s of traffic.
func TestAddressChanges(t *testing.T) {
	var worst time.Duration
	for seed := range int64(10) {
		p := settledPair(t, seed, 1+int(seed%2), way{delay: 20 * time.Millisecond}, seed%3 > 0)
		p.a.traffic(100 * time.Millisecond)
		p.run(3 * time.Second)
		since := p.now
		for range 10 {
			mover, list, far := p.a, p.ai, p.b
			if seed%4 > 1 {
				mover, list, far = p.b, p.bi, p.a
			}
			p.move(list[0])
			if mover.engine != nil {
				mover.engine.Changed(p.now)
				mover.step()
			}
			heard := 8000 // milliseconds until discovery tells the other side
			if mover.engine == nil {
				heard = 300
			}
			p.after(time.Duration(p.rng.Intn(heard))*time.Millisecond, func() {
				if far.engine == nil {
					return
				}
				var all []netip.AddrPort
				for _, i := range list {
					all = append(all, i.addr)
				}
				far.announce(all...)
			})
			p.run(20 * time.Second)
		}
		got := p.a.gap(since)
		worst = max(worst, got)
		if got > 2*time.Second {
			t.Errorf("seed %d: %v without payload", seed, got)
		}
	}
	t.Logf("at most %v", worst)
}

// The only link is used again within 2 s of its return.
func TestLinkReturns(t *testing.T) {
	for _, busy := range []bool{true, false} {
		for _, far := range []bool{true, false} {
			var worst time.Duration
			for seed := range int64(20) {
				p := settledPair(t, seed, 1, way{delay: 20 * time.Millisecond}, far)
				if busy {
					p.a.traffic(250 * time.Millisecond)
				}
				p.run(time.Duration(p.rng.Intn(150000)) * time.Millisecond)
				p.cut(p.ai[0], p.bi[0], true)
				p.run(3*time.Second + time.Duration(p.rng.Intn(237000))*time.Millisecond)
				p.cut(p.ai[0], p.bi[0], false)
				back := p.now
				p.until(time.Minute, p.works)
				got := p.now.Sub(back)
				worst = max(worst, got)
				if got > 2*time.Second {
					t.Errorf("busy %v, far engine %v, seed %d: %v after its return", busy, far, seed, got)
				}
			}
			t.Logf("busy %-5v far engine %-5v: at most %v", busy, far, worst)
		}
	}
}
