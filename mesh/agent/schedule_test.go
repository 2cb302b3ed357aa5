package agent

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	for _, tc := range []struct {
		name        string
		cost, every time.Duration
		passes      int
		rest        time.Duration // after the last pass
	}{
		{"one small pass", time.Millisecond, 0, 1, 0},
		{"small passes, 15 per second", time.Millisecond, time.Second / 15, 1000, 0},
		{"small passes, 100 per second", time.Millisecond, 10 * time.Millisecond, 1000, 5 * time.Second},
		{"one pass as long as the debt allows", 250 * time.Millisecond, 0, 1, 0},
		{"one long pass", 300 * time.Millisecond, 0, 1, 2 * time.Second},
		{"one very long pass", time.Minute, 0, 1, 5 * time.Second},
		{"long passes, seldom", 500 * time.Millisecond, 30 * time.Second, 100, 5 * time.Second},
	} {
		var s schedule
		now := time.Unix(1e9, 0)
		for i := range tc.passes {
			if i > 0 {
				now = now.Add(tc.every)
			}
			s.pace(tc.cost, now)
		}
		if rest := max(s.restUntil.Sub(now), 0); rest != tc.rest {
			t.Errorf("%s: the loop rests for %v, want %v", tc.name, rest, tc.rest)
		}
	}
}

// costly makes each change of the firewall take cost, and counts them. The fake
// sleeps with its lock held: a test that waits for that lock would stop the bubble.
type costly struct{ cost, count atomic.Int64 }

func (c *costly) install(h *harness) {
	h.fw.With(func() {
		h.fw.OnApply = func() {
			c.count.Add(1)
			time.Sleep(time.Duration(c.cost.Load()))
		}
	})
}

// flap lets a member announce another network 15 times a second, for a minute, and
// returns how often the firewall was changed.
func (c *costly) flap(h *harness, cost time.Duration) int64 {
	p := testPeer(2, liveEndpoint)
	h.find(p)
	c.install(h)
	c.cost.Store(int64(cost))
	for i := range 15 * 60 {
		p.AdditionalAddresses = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i % 2), 0, 0}), 16)}
		h.registry().Find(p)
		time.Sleep(time.Second / 15)
	}
	n := c.count.Load()
	c.cost.Store(0)
	h.advance(2 * maxPace)
	return n
}

// However often a member changes, the loop spends a small part of the time on it:
// one pass, of two changes of the firewall, in maxPace. What it said last is in
// force in the end.
func TestCostlyPassesArePaced(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		var c costly
		if n := c.flap(h, 100*time.Millisecond); n < 2*5 || n > 2*20 {
			t.Errorf("%d changes of the firewall in a minute", n)
		}
		if want := netip.MustParsePrefix("10.1.0.0/16"); !slices.Contains(h.fw.Routed(), want) {
			t.Errorf("%v are routed, and not %v", h.fw.Routed(), want)
		}
	})
}

// Passes that cost little follow each change at once.
func TestCheapPassesAreNotPaced(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		var c costly
		if n := c.flap(h, time.Millisecond/2); n < 2*15*60 {
			t.Errorf("%d changes of the firewall for %d of a member", n, 15*60)
		}
	})
}

// A request is answered while the loop rests, and so is a peer that has changed its key:
// packets wait for that.
func TestUrgentPassesAreNotPaced(t *testing.T) {
	for _, ask := range []func(h *harness) error{
		func(h *harness) error { return h.agent.Look(h.ctx) },
		func(h *harness) error {
			h.device().Call()
			synctest.Wait()
			return nil
		},
	} {
		bubble(t, []string{meshDocument}, func(h *harness) { askWhileResting(h, ask) })
	}
}

func askWhileResting(h *harness, ask func(h *harness) error) {
	var c costly
	c.install(h)
	c.cost.Store(int64(2 * time.Second))
	p := testPeer(2, liveEndpoint)
	p.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
	h.find(p)
	h.advance(5 * time.Second)
	c.cost.Store(0)
	before := c.count.Load()
	p.AdditionalAddresses = nil
	h.find(p)
	if c.count.Load() != before {
		h.t.Fatal("the loop does not rest after a costly pass")
	}
	asked := time.Now()
	if err := ask(h); err != nil {
		h.t.Fatal(err)
	}
	if took := time.Since(asked); took > 0 || c.count.Load() == before { // of the bubble's time
		h.t.Errorf("it was answered after %v and %d changes", took, c.count.Load()-before)
	}
}
