package path

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

const (
	// mtuStep is the distance of the sizes that are told apart: WireGuard pads packets to it.
	mtuStep = 16
	// MinMTU is the least size that is looked for: it fits everywhere.
	MinMTU = 32 * mtuStep
	// rungs is how many sizes are tried at once.
	rungs = 8
	// mtuTries is how often a size is tried until it counts as too large, and doubts is how
	// often until no packet of that size is sent for the time being.
	mtuTries = 3
	doubts   = 2
	// An answer is waited for three round-trip times, within these bounds.
	minProbe = 300 * time.Millisecond
	maxProbe = 1500 * time.Millisecond
	// What was found is confirmed each busyConfirm while large packets are sent, once nothing
	// has come back for quietConfirm, or two round-trip times, and else each idleConfirm.
	// Whether larger ones fit is looked at each raiseEvery.
	busyConfirm  = 500 * time.Millisecond
	quietConfirm = 400 * time.Millisecond
	idleConfirm  = 5 * time.Minute
	raiseEvery   = time.Minute
	// Without any answer, there is a pause: silencePause if there were answers before,
	// mutePause if not, or mutedPause if the peer answers small echo requests.
	silencePause = 30 * time.Second
	mutePause    = 5 * time.Minute
	mutedPause   = time.Minute
	// A node sends probeRate probes a second, and probeBurst at once.
	probeRate  = 100
	probeBurst = 64
)

type mtuState int

const (
	resting    mtuState = iota
	confirming          // one size was sent
	looking
)

// MTU finds how large packets inside the tunnel may be on the path in use: by probes,
// which are echo requests of a size that nobody may fragment. Sizes are those of packets
// inside the tunnel. The echo takes the way back, too, so the narrower of both ways counts.
//
// The MTU of the tunnel is tried first. If that has no answer, several sizes are sent at
// once, and then several between the largest with an answer and the next one: two rounds
// lead to the exact size. A size without an answer says something only if a smaller one has
// one. A peer that answers no probe at all is left alone: its MTU stays unknown.
//
// The zero MTU is ready for use. Its methods must not be called concurrently.
type MTU struct {
	path  netip.AddrPort
	top   int // the tunnel's
	fits  int // the largest that fits; 0: not known
	limit int // of what is sent now; 0: none

	state     mtuState
	next      time.Time // when a rest ends
	confirmed time.Time
	raise     time.Time // when larger sizes are tried
	silent    time.Time // when there was no answer at all

	sizes  []int // tried now, ascending
	low    int   // the largest with an answer; 0: none
	high   int   // the smallest that is too large
	misses int   // of the sizes above low
	rising bool  // fits is taken for granted
	until  time.Time
}

// Seen is what an MTU has to know of a path.
type Seen struct {
	Path       netip.AddrPort // in use
	RTT        time.Duration  // 0: not known
	MTU        int            // of the tunnel
	Large      bool           // large packets were sent since the last probe
	Unanswered time.Time      // since when data went out without anything back; zero: it did not
}

// Step returns the sizes of the probes to send now, and when to call it again.
func (m *MTU) Step(now time.Time, s Seen) (probes []int, wake time.Time) {
	if s.Path != m.path || s.MTU != m.top {
		*m = MTU{path: s.Path, top: s.MTU, limit: m.limit}
	}
	if m.top <= MinMTU {
		return nil, time.Time{}
	}
	switch m.state {
	case resting:
		probes = m.rest(now, s)
	case confirming:
		if !now.Before(m.until) {
			m.search(0, m.top+1, false)
			m.misses = 1
			probes = m.sizes
		}
	case looking:
		probes = m.judge(now)
	}
	if len(probes) > 0 {
		m.until = now.Add(min(max(3*s.RTT, minProbe), maxProbe))
	}
	if m.state == resting {
		return nil, m.due(s)
	}
	return probes, m.until
}

// due returns when a rest ends.
func (m *MTU) due(s Seen) time.Time {
	due := m.next
	if s.Large && m.fits > 0 && m.silent.IsZero() {
		due = m.confirmed.Add(busyConfirm)
		if !s.Unanswered.IsZero() {
			quiet := max(quietConfirm, 2*s.RTT)
			due = earliest(due, later(s.Unanswered, m.confirmed).Add(quiet))
		}
	}
	if !m.raise.IsZero() {
		due = earliest(due, m.raise)
	}
	return due
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// rest begins what is due.
func (m *MTU) rest(now time.Time, s Seen) []int {
	if now.Before(m.due(s)) {
		return nil
	}
	if !m.raise.IsZero() && !now.Before(m.raise) {
		m.search(m.fits, m.top+1, true)
		return m.sizes
	}
	m.state, m.sizes = confirming, append(m.sizes[:0], cmp.Or(m.fits, m.top))
	return m.sizes
}

// search begins to look between a size that fits, or 0, and one that does not.
func (m *MTU) search(low, high int, rising bool) {
	m.state, m.low, m.high, m.rising = looking, low, high, rising
	m.misses = 0
	m.ladder()
}

// ladder chooses the next sizes between low and high: as many as rungs, evenly spaced. The
// last is the largest. The one that is to be confirmed, and the least if nothing fits yet,
// take the place of others. There are none if low is the result.
func (m *MTU) ladder() {
	m.sizes = m.sizes[:0]
	first := max(m.low/mtuStep*mtuStep+mtuStep, MinMTU)
	last := (m.high - 1) / mtuStep * mtuStep
	if m.high > m.top && last < m.top { // its padding ends at the MTU
		last += mtuStep
	}
	n := (last-first)/mtuStep + 1
	if last < first || m.low >= m.top {
		return
	}
	for i := range min(n, rungs) {
		k := (n - 1) - (n-1)*(min(n, rungs)-1-i)/max(min(n, rungs)-1, 1)
		size := min(first+k*mtuStep, m.top)
		if below := len(m.sizes) - 1; m.low == 0 && m.fits > 0 && m.fits < size && below > 0 && m.sizes[below] < m.fits {
			m.sizes[below] = m.fits // it decides whether anything has changed
		}
		m.sizes = append(m.sizes, size)
	}
}

// judge looks at the answers, and returns the next probes.
func (m *MTU) judge(now time.Time) []int {
	switch {
	case !m.rising && m.fits > 0 && m.low >= m.fits: // a loss
		m.found(now, m.low)
		return nil
	case m.low >= m.sizes[len(m.sizes)-1]:
		return m.narrow(now)
	case now.Before(m.until):
		return nil
	}
	m.misses++
	if m.low > 0 && m.misses >= doubts && (m.limit == 0 || m.limit > m.low) {
		m.limit = m.low
	}
	switch {
	case m.rising && m.low == m.fits: // as expected
		m.found(now, m.fits)
		return nil
	case m.misses < mtuTries:
		return m.left()
	case m.low == 0:
		m.noAnswer(now)
		return nil
	}
	m.high = m.left()[0]
	return m.narrow(now)
}

// left returns the sizes that had no answer.
func (m *MTU) left() []int {
	first, _ := slices.BinarySearch(m.sizes, m.low+1)
	return m.sizes[first:]
}

// narrow goes on between low and high.
func (m *MTU) narrow(now time.Time) []int {
	m.misses = 0
	if m.ladder(); len(m.sizes) == 0 {
		m.found(now, m.low)
		return nil
	}
	return m.sizes
}

// found ends a search.
func (m *MTU) found(now time.Time, size int) {
	if size == m.top {
		m.limit, m.raise = 0, time.Time{}
	} else {
		m.limit = size
		if size != m.fits || !m.raise.After(now) {
			m.raise = now.Add(raiseEvery)
		}
	}
	m.state, m.fits, m.silent = resting, size, time.Time{}
	m.confirmed, m.next = now, now.Add(idleConfirm)
}

// noAnswer ends a search in which not even the smallest probe was answered.
func (m *MTU) noAnswer(now time.Time) {
	m.state, m.silent, m.raise = resting, now, time.Time{}
	if m.fits == 0 {
		m.limit, m.next = 0, now.Add(mutePause)
		return
	}
	m.next = now.Add(silencePause)
}

// Answered is called when a probe on a path was answered.
func (m *MTU) Answered(now time.Time, path netip.AddrPort, size int) {
	switch {
	case path != m.path, size > m.top: // of another path, or from before the MTU was lowered
	case m.state == confirming && size == m.sizes[0],
		m.state == resting && m.fits > 0 && size > m.fits: // late, but it fits
		m.found(now, size)
	case m.state == looking && size < m.high:
		m.low = max(m.low, size)
		if m.limit != 0 && m.limit < m.low {
			m.limit = m.low
		}
	}
}

// Echoed is called when the peer has answered a small echo request.
func (m *MTU) Echoed() {
	if soon := m.silent.Add(mutedPause); m.state == resting && m.fits == 0 && !m.silent.IsZero() && soon.Before(m.next) {
		m.next = soon
	}
}

// Fits returns the size of the largest packets that the path takes whole; 0 if that is not
// known.
func (m *MTU) Fits() int { return m.fits }

// Limit returns how large packets should be; 0 if they need no limit but the tunnel's MTU.
// It changes before [MTU.Fits] does.
func (m *MTU) Limit() int { return m.limit }

// ProbeBudget bounds the probes that a node sends. The zero value is full.
type ProbeBudget struct{ bucket bucket }

// Ready reports whether probes may be sent.
func (b *ProbeBudget) Ready(now time.Time) bool {
	return b.bucket.has(probeBurst, time.Second/probeRate, now)
}

// Take notes that probes are sent.
func (b *ProbeBudget) Take(now time.Time, probes int) {
	for range probes {
		b.bucket.take(time.Second/probeRate, now)
	}
}

// InUse returns the path in use, with its round-trip time, which is 0 if it is not known.
func (p *Peer) InUse() (at netip.AddrPort, rtt time.Duration) { return p.current, p.rtt }
