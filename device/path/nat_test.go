package path

import (
	"net/netip"
	"testing"
	"time"
)

// Two nodes behind NATs meet, whoever starts first and whichever has the smaller key, where
// NATs allow it at all. Each knows the other's address as a STUN server sees it.
func TestNATs(t *testing.T) {
	kinds := []natKind{noNAT, fullCone, portRestricted, symmetric}
	for _, x := range kinds {
		for _, y := range kinds {
			possible := max(x, y) < symmetric || min(x, y) < portRestricted
			var worst time.Duration
			for _, apart := range apartTimes {
				got, ok := meet(x, y, apart)
				worst = max(worst, got)
				if ok != possible {
					t.Errorf("%v × %v, %v apart: connected %v, want %v", x, y, apart, ok, possible)
				}
				if limit := 5 * time.Second; possible && got > limit {
					t.Errorf("%v × %v, %v apart: %v, want at most %v", x, y, apart, got, limit)
				}
			}
			t.Logf("%-10v × %-10v possible %-5v: at most %v", x, y, possible, worst)
		}
	}
}

// apartTimes are how long after the smaller key the other side starts.
var apartTimes = []time.Duration{
	-20 * time.Second, -2 * time.Second, -200 * time.Millisecond, -10 * time.Millisecond,
	0, 10 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second, 20 * time.Second,
}

// meet returns how long a first contact takes after the second side has started.
func meet(x, y natKind, apart time.Duration) (time.Duration, bool) {
	w := newWorld(1)
	m, n := w.node(), w.node()
	i, j := w.attach(m, liveRealm, x), w.attach(n, liveRealm, y)
	stun := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, liveRealm, 250, 1}), 3478)
	toX, toY := w.public(i, stun), w.public(j, stun)
	a, b := m.peer(n, true), n.peer(m, true)
	if apart >= 0 {
		a.start(toY)
		w.run(apart)
		b.start(toX)
	} else {
		b.start(toX)
		w.run(-apart)
		a.start(toY)
	}
	started := w.now
	ok := w.until(time.Minute, func() bool { return !a.first.IsZero() && !b.first.IsZero() })
	return w.now.Sub(started), ok
}
