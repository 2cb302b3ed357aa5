package path

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const liveRealm = 1

// contact is a first contact of two nodes with one live candidate each way.
type contact struct {
	dead     string // drop, reject, wrong key, one-way
	k        int    // dead candidates
	place    int    // of the live one in the list
	delay    time.Duration
	far      string // wirespan, lower, larger: plain WireGuard with that key
	calls    bool   // plain WireGuard knows the live endpoint of the first node
	apart    time.Duration
	interval time.Duration // of KubeSpan's rule instead
}

// world builds it. The first node is the one that is looked at.
func (c contact) world() (w *world, a, b *peering) {
	w = newWorld(int64(c.k)*100 + int64(c.place))
	x, y := w.node(), w.node()
	if c.far == "lower" { // the nodes made first have the smaller keys
		x, y = y, x
	}
	ax, ay := w.attach(x, liveRealm, noNAT), w.attach(y, liveRealm, noNAT)
	w.join(ax, ay, way{delay: c.delay})
	var toY, toX []netip.AddrPort
	for i := range c.k {
		y, x := c.deadOne(w, x, y, byte(10+i))
		toY, toX = append(toY, y), append(toX, x)
	}
	at := min(c.place, c.k)
	toY = append(toY[:at:at], append([]netip.AddrPort{ay.addr}, toY[at:]...)...)
	toX = append(toX[:at:at], append([]netip.AddrPort{ax.addr}, toX[at:]...)...)
	a, b = x.peer(y, c.interval == 0), y.peer(x, c.interval == 0 && c.far == "wirespan")
	if c.interval != 0 {
		a.startCycle(c.interval, toY...)
	} else {
		a.start(toY...)
	}
	w.after(c.apart, func() {
		switch {
		case c.far != "wirespan" && c.calls:
			b.start(ax.addr)
		case c.far != "wirespan":
			b.start()
		case c.interval != 0:
			b.startCycle(c.interval, toX...)
		default:
			b.start(toX...)
		}
	})
	return w, a, b
}

// deadOne makes a dead candidate of either side.
func (c contact) deadOne(w *world, x, y *node, realm byte) (toY, toX netip.AddrPort) {
	ix := w.attach(x, realm, noNAT)
	toY, toX = addr(realm, 99), addr(realm, 98)
	switch c.dead {
	case "reject":
		w.rejects[toY], w.rejects[toX] = true, true
	case "wrong key":
		other := w.node()
		other.peer(x, true)
		i := w.attach(other, realm, noNAT)
		return i.addr, i.addr
	case "one-way":
		iy := w.attach(y, realm, noNAT)
		*w.way(ix, iy) = way{delay: c.delay / 2}
		*w.way(iy, ix) = way{cut: true}
		return iy.addr, addr(realm, 98)
	}
	return toY, toX
}

func (c contact) measure() time.Duration {
	w, a, b := c.world()
	w.until(30*time.Minute, func() bool {
		if c.calls { // both sides that begin at once may cross: the first handshake counts
			return !a.first.IsZero() || !b.first.IsZero()
		}
		return !a.first.IsZero() && !b.first.IsZero()
	})
	return w.elapsed()
}

// The first session needs less than two round trips and 300 ms, whatever else is listed.
func TestFirstContact(t *testing.T) {
	worst := map[string]time.Duration{}
	for _, far := range []string{"wirespan", "lower", "larger", "lower that calls", "larger that calls"} {
		far, calls := strings.CutSuffix(far, " that calls")
		for _, dead := range []string{"drop", "reject", "wrong key"} {
			for _, delay := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond} {
				for k := range 21 {
					for _, place := range []int{0, k / 2, k} {
						c := contact{dead: dead, k: k, place: place, delay: delay, far: far, calls: calls}
						got := c.measure()
						if limit := 4*delay + 300*time.Millisecond; got >= limit {
							t.Errorf("%+v: %v, want less than %v", c, got, limit)
						}
						key := fmt.Sprintf("far %-8s calls %-5v delay %5v", far, calls, delay)
						worst[key] = max(worst[key], got)
					}
				}
			}
		}
	}
	for k, v := range worst {
		t.Logf("%s: at most %v", k, v)
	}
}

// Paths without a way back may lose a race. The search is then over at the latest when one
// endpoint after another would have met the live one, or after the second attempt if that
// is the first of the list.
func TestFirstContactOneWay(t *testing.T) {
	for _, far := range []string{"wirespan", "lower", "larger"} {
		for _, delay := range []time.Duration{time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond} {
			for _, k := range []int{1, 2, 3, 5, 10, 20} {
				var worst, cycle time.Duration
				for place := range k + 1 {
					c := contact{dead: "one-way", k: k, place: place, delay: delay, far: far}
					got := c.measure()
					c.interval = 15 * time.Second
					one := c.measure()
					if limit := max(one, firstPatience+leadTime+raceSpread+4*delay+leadTime); got > limit {
						t.Errorf("%+v: %v, one after another: %v", c, got, one)
					}
					worst, cycle = max(worst, got), max(cycle, one)
				}
				t.Logf("far %-8s delay %5v k %2d: at most %7.3fs, one after another %7.3fs", far, delay, k, worst.Seconds(), cycle.Seconds())
			}
		}
	}
}
