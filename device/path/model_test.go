package path

import (
	"math/rand"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// random is a world that changes at random for a while and then rests.
type random struct {
	*pair
	r       *rand.Rand
	dead    []netip.AddrPort
	adds    map[netip.AddrPort]int // how often a dead address was announced anew
	listed  map[*peering][]netip.AddrPort
	longest int // list
}

const (
	unrest   = 100 * time.Second
	maxPaths = 5
)

func newRandom(seed int64) *random {
	w := newWorld(seed)
	r := &random{
		pair: &pair{world: w}, r: w.rng, adds: map[netip.AddrPort]int{}, listed: map[*peering][]netip.AddrPort{},
	}
	x, y := w.node(), w.node()
	if r.r.Intn(2) == 0 {
		x, y = y, x
	}
	for n := range 1 + r.r.Intn(maxPaths) {
		i, j := w.attach(x, byte(1+n), r.nat()), w.attach(y, byte(1+n), r.nat())
		r.ai, r.bi = append(r.ai, i), append(r.bi, j)
		r.set(w.way(i, j))
		r.set(w.way(j, i))
	}
	for n := range r.r.Intn(5) {
		w.attach(x, byte(50+n), noNAT)
		r.dead = append(r.dead, addr(byte(50+n), 99))
		w.rejects[addr(byte(50+n), 99)] = r.r.Intn(3) == 0
	}
	r.a, r.b = x.peer(y, true), y.peer(x, r.r.Intn(3) > 0)
	x.mute, y.mute = r.r.Intn(6) == 0, r.r.Intn(6) == 0
	return r
}

func (r *random) nat() natKind {
	if r.r.Intn(3) > 0 {
		return noNAT
	}
	return natKind(1 + r.r.Intn(3))
}

// set makes a way random.
func (r *random) set(w *way) {
	*w = way{delay: time.Duration(r.r.Intn(150)) * time.Millisecond, cut: r.r.Intn(4) == 0}
	switch r.r.Intn(4) {
	case 0:
		w.loss = 0.2 * r.r.Float64()
	case 1:
		w.jitter = time.Duration(1+r.r.Intn(50)) * time.Millisecond
	}
}

// tell announces to a side where the other one is.
func (r *random) tell(q *peering) {
	list, dead := r.bi, r.dead
	if q == r.b {
		list, dead = r.ai, nil
	}
	var all []netip.AddrPort
	for _, i := range list {
		all = append(all, r.public(i, i.addr)) // as a STUN server sees it
	}
	for _, d := range dead {
		if r.r.Intn(4) > 0 {
			all = append(all, d)
		}
	}
	for _, d := range dead {
		if slices.Contains(all, d) && !slices.Contains(r.listed[q], d) {
			r.adds[d]++
		}
	}
	r.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	r.listed[q] = all
	r.longest = max(r.longest, len(all))
	if q.engine == nil {
		q.dev.endpoint = all[0]
		return
	}
	ranked := make([]Candidate, len(all))
	for i, a := range all {
		ranked[i] = Candidate{Addr: a, Rank: r.r.Intn(3)}
	}
	q.engine.SetCandidates(r.now, ranked)
	q.step()
}

// change does one thing to the world.
func (r *random) change() {
	n := r.r.Intn(len(r.ai))
	switch r.r.Intn(6) {
	case 0:
		r.set(r.way(r.ai[n], r.bi[n]))
	case 1:
		r.set(r.way(r.bi[n], r.ai[n]))
	case 2:
		r.cut(r.ai[n], r.bi[n], r.r.Intn(2) == 0)
	case 3:
		i, q, far := r.ai[n], r.a, r.b
		if r.r.Intn(2) == 0 {
			i, q, far = r.bi[n], r.b, r.a
		}
		r.move(i)
		if q.engine != nil {
			q.engine.Changed(r.now)
			q.step()
		}
		r.after(time.Duration(r.r.Intn(3000))*time.Millisecond, func() { r.tell(far) })
	case 4:
		r.tell(r.a)
	case 5:
		r.tell(r.b)
	}
}

// play lets the world change, and then rest.
func (r *random) play() {
	r.tell(r.a)
	r.tell(r.b)
	r.a.dev.sendKeepalive()
	r.after(time.Duration(r.r.Intn(3))*time.Second, r.b.dev.sendKeepalive)
	if r.r.Intn(2) == 0 {
		r.a.traffic(time.Duration(50+r.r.Intn(3000)) * time.Millisecond)
	}
	for range r.r.Intn(20) {
		r.after(time.Duration(r.r.Int63n(int64(unrest))), r.change)
	}
	r.run(unrest + 4*time.Second)
	r.tell(r.a)
	if r.b.engine != nil {
		r.tell(r.b)
	}
}

// open reports whether some path works both ways and can be found: a side that searches knows
// an address of the other at which it can be reached.
func (r *random) open() bool {
	for n := range r.ai {
		there, back := r.way(r.ai[n], r.bi[n]), r.way(r.bi[n], r.ai[n])
		if there.cut || back.cut {
			continue
		}
		a, b := r.ai[n].nat, r.bi[n].nat
		if reachable(b) || r.b.engine != nil && (reachable(a) || a.kind == portRestricted && b.kind == portRestricted) {
			return true
		}
	}
	return false
}

func reachable(n *nat) bool { return n == nil || n.kind == fullCone }

// flows reports whether what a side sends arrives.
func (r *random) flows(q, far *peering) bool {
	to := q.dev.endpoint
	if !to.IsValid() {
		return false
	}
	from, target := q.n.iface(realm(to)), r.home(to)
	return from != nil && target != nil && target.node == far.n && !r.way(from, target).cut &&
		!r.filtered(r.public(from, to), to) && q.dev.usable(far.dev)
}

func (r *random) settled() bool {
	return r.flows(r.a, r.b) && r.flows(r.b, r.a) && r.a.engine.Status(r.now).Settled
}

// bounds checks what was sent to addresses that never answered.
func (r *random) bounds(t *testing.T, seed int64) {
	t.Helper()
	for _, n := range r.nodes {
		for i, at := range n.strange {
			if i >= 64+2*nodeRate && at.Sub(n.strange[i-64-2*nodeRate]) < time.Second {
				t.Errorf("seed %d: node %d: more than %d datagrams to strangers in a second", seed, n.number, 64+2*nodeRate)
				break
			}
		}
	}
	for _, d := range r.dead {
		got := len(r.a.n.sent[d])
		if limit := raceAttempts*3*r.adds[d] + int(r.elapsed()/unprovenPause) + 1; got > limit {
			t.Errorf("seed %d: %d initiations to %v, want at most %d", seed, got, d, limit)
		}
	}
}

// In any world that comes to rest, two sides find a path if there is one, and never take longer
// than one endpoint after another would.
func TestRandomWorlds(t *testing.T) {
	runs, open := 600, 0
	if testing.Short() {
		runs = 150
	}
	var worst time.Duration
	for seed := range int64(runs) {
		r := newRandom(seed)
		r.play()
		if r.open() {
			open++
			rest := r.now
			limit := 35*time.Second + 15*time.Second*time.Duration(r.longest)
			if r.b.engine == nil { // its keepalives hide that it hears nothing: see TestCutIdle
				limit = max(limit, rejectAfter+20*time.Second)
			}
			if !r.until(limit, r.settled) {
				t.Errorf("seed %d: no path after %v", seed, limit)
			}
			worst = max(worst, r.now.Sub(rest))
		} else {
			r.run(30 * time.Second)
		}
		r.bounds(t, seed)
	}
	t.Logf("%d worlds, %d with a path, found within %v", runs, open, worst)
	if open < runs/2 {
		t.Errorf("only %d of %d worlds have a path", open, runs)
	}
}

// A feed that names strangers makes no packet cannon of a node.
func TestHostileFeed(t *testing.T) {
	const peers = 20
	for _, c := range []struct {
		name      string
		oneVictim bool
		first     int // in the first 10 s
		rate      int // a second after that
		burst     int // beyond that: what was saved up while searches rested
	}{
		{"one victim", true, hostBurst + 10*hostRate, hostRate, hostBurst},
		{"many", false, firstPerPeer*peers*7/6 + 10*nodeRate, nodeRate, nodeRate},
	} {
		w := newWorld(1)
		n := w.node()
		w.attach(n, liveRealm, noNAT)
		for i := range byte(peers) {
			var list []netip.AddrPort
			for j := range uint16(MaxCandidates) {
				a := netip.AddrFrom4([4]byte{10, liveRealm, i, byte(j)})
				if c.oneVictim {
					a = netip.AddrFrom4([4]byte{10, liveRealm, 99, 99})
				}
				list = append(list, netip.AddrPortFrom(a, 1000*uint16(i)+j))
			}
			n.peer(w.node(), true).start(list...)
		}
		w.run(10 * time.Second)
		if got := len(n.strange); got > c.first {
			t.Errorf("%s: %d datagrams in the first 10 s, want at most %d", c.name, got, c.first)
		}
		w.run(time.Minute)
		before := len(n.strange)
		w.run(5 * time.Minute)
		if got := len(n.strange) - before; got > 300*c.rate+c.burst {
			t.Errorf("%s: %d datagrams in 5 min, want at most %d", c.name, got, 300*c.rate+c.burst)
		}
		t.Logf("%s: %d datagrams in the first 70 s, then %d in 5 min", c.name, before, len(n.strange)-before)
	}
}
