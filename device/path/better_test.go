package path

import (
	"testing"
	"time"
)

// ranked returns a pair whose first path is cut and has the better rank, with traffic.
func ranked(t *testing.T, seed int64, farEngine bool) *pair {
	t.Helper()
	p := settledPair(t, seed, 2, way{delay: 20 * time.Millisecond}, farEngine)
	p.cut(p.ai[0], p.bi[0], true)
	for _, q := range []*peering{p.a, p.b} {
		if q.engine != nil {
			list := p.bi
			if q == p.b {
				list = p.ai
			}
			q.engine.SetCandidates(p.now, []Candidate{{Addr: list[0].addr}, {Addr: list[1].addr, Rank: 1}})
			q.step()
		}
	}
	p.a.traffic(100 * time.Millisecond)
	p.run(50 * time.Second)
	if !p.works() || p.inUse(p.a) != 1 {
		t.Fatalf("seed %d: not on the second path", seed)
	}
	return p
}

// A better path is taken over when it is back, without loss.
func TestBetterPath(t *testing.T) {
	var worst, gap time.Duration
	for seed := range int64(6) {
		p := ranked(t, seed, seed%3 > 0)
		p.cut(p.ai[0], p.bi[0], false)
		back := p.now
		if !p.until(2*time.Minute, func() bool { return p.inUse(p.a) == 0 && p.inUse(p.b) == 0 && p.works() }) {
			t.Errorf("seed %d: the better path is not taken", seed)
		}
		worst = max(worst, p.now.Sub(back))
		p.run(10 * time.Second)
		gap = max(gap, p.a.gap(back))
	}
	t.Logf("taken after at most %v, longest gap %v", worst, gap)
	if limit := 300 * time.Millisecond; gap > limit {
		t.Errorf("%v without payload, want at most %v", gap, limit)
	}
}

// A better path that was withdrawn, and is announced again soon, is taken, too. So is one that
// gets the better rank only then.
func TestBetterPathIsAnnouncedAgain(t *testing.T) {
	for name, before := range map[string][]int{"withdrawn": {1}, "of another rank": {1, 0}} {
		p := settledPair(t, 1, 2, way{delay: 20 * time.Millisecond}, true)
		announce := func(paths ...int) {
			var list []Candidate
			for _, n := range paths {
				list = append(list, Candidate{Addr: p.bi[n].addr, Rank: len(list)})
			}
			p.a.engine.SetCandidates(p.now, list)
			p.a.step()
		}
		p.a.traffic(100 * time.Millisecond)
		announce(before...)
		p.cut(p.ai[0], p.bi[0], true)
		p.run(50 * time.Second)
		if p.inUse(p.a) != 1 {
			t.Fatalf("%s: not on the second path", name)
		}
		p.cut(p.ai[0], p.bi[0], false)
		announce(0, 1)
		if !p.until(2*time.Minute, func() bool { return p.inUse(p.a) == 0 }) {
			t.Errorf("%s: the better path is not taken", name)
		}
	}
}

// A better path without a way back is tried ever more seldom, and each try costs hardly
// anything.
func TestBetterPathOneWay(t *testing.T) {
	var gap time.Duration
	for seed := range int64(6) {
		p := ranked(t, seed, seed%3 > 0)
		delay := time.Duration(1+seed) * 7 * time.Millisecond
		*p.way(p.ai[0], p.bi[0]) = way{delay: delay}
		since, tries := p.now, len(p.a.n.sent[p.bi[0].addr])
		p.run(10 * time.Minute)
		gap = max(gap, p.a.gap(since))
		if got := len(p.a.n.sent[p.bi[0].addr]) - tries; got > 10 {
			t.Errorf("seed %d: %d tries in 10 min", seed, got)
		}
		if p.inUse(p.a) != 1 {
			t.Errorf("seed %d: left the path that works", seed)
		}
	}
	t.Logf("longest gap %v", gap)
	if limit := 500 * time.Millisecond; gap > limit {
		t.Errorf("%v without payload, want at most %v", gap, limit)
	}
}

// A better path that comes and goes is left alone for longer and longer.
func TestBetterPathFlaps(t *testing.T) {
	p := ranked(t, 1, true)
	before := p.a.engine.Status(p.now).Changes
	for i := range 60 {
		p.cut(p.ai[0], p.bi[0], i%2 == 1)
		p.run(30 * time.Second)
	}
	if got := p.a.engine.Status(p.now).Changes - before; got > 16 {
		t.Errorf("%d changes in 30 min", got)
	}
	if got := p.a.gap(p.start.Add(90 * time.Second)); got > 4*time.Second {
		t.Errorf("%v without payload", got)
	}
}
