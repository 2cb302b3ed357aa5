package path

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// A search whose attempts went to all candidates twice, or were wearyAttempts, rests
	// after each further one: for 1/restShare of the time that it has lasted, up to maxRest.
	wearyAttempts = 24
	restShare     = 4
	maxRest       = 30 * time.Second // two idle nodes find each other again soon after an outage
	// An attempt then goes to maxSome candidates, maxSomeGap apart, or closer if they are
	// many: all within someSpread, before the device repeats the initiation.
	maxSome    = 8
	maxSomeGap = time.Second
	someSpread = 4 * time.Second
)

// News is called when something new is known of the peer, as a record that it has published:
// a search that rests goes on, and rests for a short time again.
func (p *Peer) News(now time.Time) {
	if !p.settled && !p.restUntil.IsZero() {
		p.restarted, p.restUntil = now, time.Time{}
	}
}

// weary reports whether a search has lasted for so long that an answer is not to be expected
// soon.
func (p *Peer) weary(now time.Time) bool {
	return p.attempts >= raceAttempts+min(2*len(p.all), wearyAttempts) && !p.anyFresh(now)
}

// restTime returns how long a search rests after an attempt. It differs by a quarter, so that
// peers which were lost together are not tried together for ever.
func (p *Peer) restTime(now time.Time) time.Duration {
	if !p.weary(now) {
		return 0
	}
	rest := min(now.Sub(p.restarted)/restShare, maxRest)
	return rest - rest/4*time.Duration(now.Nanosecond()/1000%1000)/1000
}

// calm has the device no longer repeat its last initiation.
func (p *Peer) calm() {
	p.repeats = false
	p.do(Rest, netip.AddrPort{})
}

// calmLater does so when it is about to, if nothing else happens. What waits for the session
// is kept until then.
func (p *Peer) calmLater(now time.Time) {
	switch due := p.shook.Add(repeatTime); {
	case !p.repeats:
	case now.Before(due):
		p.at(due)
	default:
		p.calm()
	}
}

// mayGo reports whether an initiation that the device has made by itself, as for a packet to
// the peer, may be sent. A search that rests or waits for its turn goes on with it.
func (p *Peer) mayGo(now time.Time) bool {
	if now.Before(p.startAt) {
		return false
	}
	if p.attempts < raceAttempts {
		return true
	}
	_, due := p.turn(now)
	return !due.After(now)
}

// planSome plans an attempt at some candidates, those that answered within the hour and then
// those that have waited longest. The copies are
// so far apart that each has the time for an answer before the next leaves. One that arrives by
// a way without a way back makes the later ones void, so the order differs each time.
func (p *Peer) planSome(now time.Time, list []*candidate) {
	slices.SortStableFunc(list, func(a, b *candidate) int {
		switch proven := a.proven(now); {
		case proven == b.proven(now):
			return longest(a, b)
		case proven:
			return -1
		default:
			return 1
		}
	})
	list = list[:min(len(list), maxSome)]
	n := len(list)
	first := p.attempts / 2 % n
	list = slices.Concat(list[first:], list[:first])
	if p.attempts%2 == 1 {
		slices.Reverse(list)
	}
	for i, c := range list {
		p.attempt.add(c, time.Duration(i)*min(maxSomeGap, someSpread/time.Duration(n)))
		c.led = now
	}
}
