package path

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// mtuWorld is a path that takes packets up to a size, and loses some.
type mtuWorld struct {
	m      MTU
	now    time.Time
	seen   Seen
	rtt    time.Duration
	width  int // the largest packet that passes; 0: none
	loss   float64
	chance *rand.Rand
	sent   int
	echoes []mtuEcho
}

type mtuEcho struct {
	at   time.Time
	path netip.AddrPort
	size int
}

func newMTUWorld(top, width int) *mtuWorld {
	return &mtuWorld{
		now: time.Unix(1e9, 0), rtt: 20 * time.Millisecond, width: width, chance: rand.New(rand.NewPCG(1, 2)),
		seen: Seen{Path: netip.MustParseAddrPort("192.0.2.1:1"), RTT: 20 * time.Millisecond, MTU: top},
	}
}

// run lets time pass.
func (w *mtuWorld) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		probes, wake := w.m.Step(w.now, w.seen)
		for _, size := range probes {
			w.sent++
			if (size+mtuStep-1)/mtuStep*mtuStep <= w.width && w.chance.Float64() >= w.loss {
				w.echoes = append(w.echoes, mtuEcho{w.now.Add(w.rtt), w.seen.Path, size})
			}
		}
		next := end
		if wake.Before(next) && !wake.IsZero() {
			next = wake
		}
		for _, e := range w.echoes {
			if e.at.Before(next) {
				next = e.at
			}
		}
		if next.After(w.now) {
			w.now = next
		} else if len(probes) == 0 && !wake.After(w.now) && len(w.echoes) == 0 {
			panic("it asks to be called at once, and does nothing")
		}
		rest := w.echoes[:0]
		for _, e := range w.echoes {
			if e.at.After(w.now) {
				rest = append(rest, e)
				continue
			}
			w.m.Answered(w.now, e.path, e.size)
		}
		w.echoes = rest
		if !w.now.Before(end) {
			return
		}
	}
}

// until lets time pass until something is so, and returns how long that took.
func (w *mtuWorld) until(t *testing.T, limit time.Duration, so func() bool) time.Duration {
	t.Helper()
	for start := w.now; ; {
		if w.run(0); so() {
			return w.now.Sub(start)
		}
		if w.now.Sub(start) > limit {
			t.Fatalf("not within %v: fits %d, limit %d", limit, w.m.Fits(), w.m.Limit())
		}
		w.run(10 * time.Millisecond)
	}
}

// want returns the size that is to be found.
func want(top, width int) int {
	if (top+mtuStep-1)/mtuStep*mtuStep <= width {
		return top
	}
	return width / mtuStep * mtuStep
}

// Each width is found, in a bounded time and with few probes.
func TestMTUFindsEachWidth(t *testing.T) {
	for _, top := range []int{1280, 1408, 1420, 8920, 65535} {
		for width := MinMTU; width <= top+2*mtuStep; width += 1 + top/700 {
			w := newMTUWorld(top, width)
			limit, probes := 6*time.Second, 60
			if top > 8000 {
				limit, probes = 12*time.Second, 120
			}
			w.until(t, limit, func() bool { return w.m.Fits() != 0 && w.m.state == resting })
			if got := w.m.Fits(); got != want(top, width) {
				t.Fatalf("MTU %d, width %d: found %d", top, width, got)
			}
			if limited := w.m.Limit(); limited != 0 != (w.m.Fits() < top) || limited > width {
				t.Errorf("MTU %d, width %d: limit %d", top, width, limited)
			}
			if w.sent > probes {
				t.Errorf("MTU %d, width %d: %d probes", top, width, w.sent)
			}
		}
	}
}

// A path that takes everything costs one probe in five minutes, or in half a second
// while large packets are sent.
func TestMTUOfAWidePathIsCheap(t *testing.T) {
	w := newMTUWorld(1420, 1500)
	w.run(time.Hour)
	if w.sent != 12 {
		t.Errorf("%d probes in an idle hour, want 12", w.sent)
	}
	w.seen.Large, w.sent = true, 0
	w.run(time.Minute)
	if w.sent > 120 {
		t.Errorf("%d probes in a busy minute", w.sent)
	}
}

// If nothing comes back any more, a narrow path is limited after three losses.
func TestMTUOfASilentPath(t *testing.T) {
	w := newMTUWorld(1420, 1500)
	w.run(time.Minute)
	w.width, w.seen.Large, w.seen.Unanswered = 1232, true, w.now
	w.until(t, quietConfirm+(doubts+1)*minProbe, func() bool { return w.m.Limit() != 0 })
	if w.m.Limit() > 1232 {
		t.Errorf("limit %d", w.m.Limit())
	}
	w.until(t, 3*time.Second, func() bool { return w.m.Fits() == 1232 })
	w.seen.Unanswered, w.sent = w.now, 0
	w.run(10 * time.Second)
	if w.sent > int(10*time.Second/quietConfirm) {
		t.Errorf("%d probes in 10 s", w.sent)
	}
}

// A path that becomes narrow is limited within 3 s while large packets are sent, and the
// exact size is known soon after. When it is wide again, that is found within raiseEvery.
func TestMTUFollowsThePath(t *testing.T) {
	for _, width := range []int{MinMTU, 700, 1200, 1216, 1232, 1400} {
		w := newMTUWorld(1420, 1500)
		w.seen.Large = true
		w.run(10*time.Second + 123*time.Millisecond)
		w.width = width
		if took := w.until(t, 3*time.Second, func() bool { return w.m.Limit() != 0 }); w.m.Limit() > width {
			t.Errorf("width %d: limit %d after %v", width, w.m.Limit(), took)
		}
		w.until(t, 4*time.Second, func() bool { return w.m.Fits() == want(1420, width) })
		w.run(3 * time.Minute)
		if w.m.Fits() != want(1420, width) || w.m.Limit() != w.m.Fits() {
			t.Errorf("width %d: fits %d, limit %d", width, w.m.Fits(), w.m.Limit())
		}
		w.width = 1500
		w.until(t, raiseEvery+3*time.Second, func() bool { return w.m.Fits() == 1420 && w.m.Limit() == 0 })
	}
}

// A peer that answers no echo has no limit, and gets few probes.
func TestMTUOfAMutePeerStaysUnknown(t *testing.T) {
	w := newMTUWorld(1420, 0)
	w.seen.Large = true
	w.run(time.Hour)
	if w.m.Fits() != 0 || w.m.Limit() != 0 {
		t.Errorf("fits %d, limit %d", w.m.Fits(), w.m.Limit())
	}
	if w.sent > 12*(1+rungs*mtuTries) {
		t.Errorf("%d probes in an hour", w.sent)
	}
	w.width = 1500
	w.m.Echoed()
	w.until(t, mutedPause+time.Second, func() bool { return w.m.Fits() == 1420 })
	w.width = 0 // now known, and mute again: what is known stays
	w.sent = 0
	w.run(time.Hour)
	if w.m.Fits() != 1420 || w.m.Limit() != 0 {
		t.Errorf("fits %d, limit %d after it became mute", w.m.Fits(), w.m.Limit())
	}
	if w.sent > 120*(1+rungs*mtuTries) {
		t.Errorf("%d probes in an hour to a peer that became mute", w.sent)
	}
}

// Losses alone limit nothing for long, and never say that more fits than does.
func TestMTUWithLosses(t *testing.T) {
	for _, width := range []int{1216, 1500} {
		w := newMTUWorld(1420, width)
		w.loss, w.seen.Large = 0.05, true
		right := 0
		const seconds = 3600
		for range seconds {
			w.run(time.Second)
			if w.m.Fits() > want(1420, width) {
				t.Fatalf("found %d of %d", w.m.Fits(), want(1420, width))
			}
			if w.m.Fits() == want(1420, width) {
				right++
			}
		}
		if right < seconds*95/100 {
			t.Errorf("width %d: right for %d s of %d", width, right, seconds)
		}
	}
}

// On another path everything is found anew. Until then the limit of the old one holds.
// Answers of the old path count for nothing.
func TestMTUOfAnotherPath(t *testing.T) {
	w := newMTUWorld(1420, 1216)
	w.run(10 * time.Second)
	old := w.seen.Path
	w.seen.Path = netip.MustParseAddrPort("192.0.2.2:1")
	w.width = 1300
	w.run(0)
	if w.m.Fits() != 0 || w.m.Limit() != 1216 {
		t.Errorf("fits %d, limit %d, want unknown and 1216", w.m.Fits(), w.m.Limit())
	}
	w.m.Answered(w.now, old, 1420)
	w.run(10 * time.Second)
	if w.m.Fits() != 1296 {
		t.Errorf("fits %d, want 1296", w.m.Fits())
	}
}

// An answer to a probe from before the tunnel's MTU was lowered counts for nothing.
func TestMTUOfTheTunnelIsLowered(t *testing.T) {
	w := newMTUWorld(1420, 1500)
	w.run(10 * time.Second)
	w.seen.MTU = 1400
	w.run(time.Second)
	w.m.Answered(w.now, w.seen.Path, 1420)
	w.run(2 * raiseEvery)
	if w.m.Fits() != 1400 {
		t.Errorf("fits %d, want 1400", w.m.Fits())
	}
}

func TestProbeBudget(t *testing.T) {
	var b ProbeBudget
	now := time.Unix(1e9, 0)
	n := 0
	for ; b.Ready(now); n++ {
		b.Take(now, 1)
	}
	if n != probeBurst {
		t.Errorf("%d at once, want %d", n, probeBurst)
	}
	b.Take(now, rungs)
	if b.Ready(now.Add(rungs * time.Second / probeRate)) {
		t.Error("ready although more was taken")
	}
	if !b.Ready(now.Add(time.Second)) {
		t.Error("not ready after a second")
	}
}
