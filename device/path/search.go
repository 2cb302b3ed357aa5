package path

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// raceAttempts is how many attempts of a search go to all candidates.
	raceAttempts = 2
	// The copies of the first attempt leave raceGap apart, or closer if there are many
	// candidates: all within raceSpread.
	raceGap    = 10 * time.Millisecond
	raceSpread = 100 * time.Millisecond
	// leadTime is the head start that a leader has in later attempts.
	leadTime = 300 * time.Millisecond
	// maxRepeated is how many candidates get the repeats of an initiation.
	maxRepeated = 12
	// firstPatience is how long an answer to the first attempt is waited for, and then
	// those of later ones.
	firstPatience = time.Second
	racePatience  = 1500 * time.Millisecond
	slowPatience  = 2 * time.Second         // in the first rotation
	longPatience  = 5 * time.Second         // after that
	unprovenPause = 5 * time.Second         // between initiations to an address that never answered
	holdBack      = 150 * time.Millisecond  // of the larger key
	crossPause    = 50 * time.Millisecond   // beyond WireGuard's limit of 20 ms
	crossTime     = time.Second             // an older initiation is lost or refused, and crosses no other
	voidPause     = 50 * time.Millisecond   // until the smaller key's next one should be here
	callTime      = 5 * time.Second         // how long the peer's call is a hint
	answerPause   = time.Second             // for the session that follows our response
	refusedPause  = time.Second             // after this host refused to send to all candidates
	restartPause  = time.Second             // between two starts, and for the device to make an initiation
	repeatTime    = 4500 * time.Millisecond // then the device is about to repeat its initiation
	maxOpened     = 16                      // addresses that get an empty datagram
)

// repeats are when the same initiation is sent again, for what got lost and for a NAT that
// the far side was about to open.
var repeats = [...]time.Duration{250 * time.Millisecond, 600 * time.Millisecond}

// restart begins a search anew, soon after anything has changed.
func (p *Peer) restart(now time.Time) {
	if now.Sub(p.restarted) < restartPause {
		if at := p.restarted.Add(restartPause); p.startAt.IsZero() || p.startAt.After(at) {
			p.startAt = at
		}
		p.attempts = min(p.attempts, raceAttempts-1)
		return
	}
	p.restarted, p.startAt = now, now
	p.attempts, p.attempt, p.left, p.restUntil = 0, attempt{}, netip.AddrPort{}, time.Time{}
	p.forgetLeaders(now)
	if !p.lower {
		p.startAt = now.Add(max(holdBack, p.rtt))
		p.opening(now)
	}
	if p.answers > 0 && p.answers <= maxAnswers { // the session may be about to come
		p.startAt = later(p.startAt, p.called.Add(max(answerPause, 2*p.rtt)))
	}
}

// racing reports whether an initiation is on its way to all candidates.
func (p *Peer) racing(now time.Time) bool {
	a := &p.attempt
	return a.kind == searching && a.state == made && now.Before(a.until) && p.attempts < raceAttempts
}

// opening has NATs of this side let the peer's initiations in.
func (p *Peer) opening(now time.Time) {
	for i, c := range p.order(now) {
		if i == maxOpened {
			return
		}
		p.attempt.sends = append(p.attempt.sends, transmission{to: c.Addr, at: now, open: true})
	}
}

// search starts attempts while no path is known.
func (p *Peer) search(now time.Time) {
	a := &p.attempt
	if a.state == made {
		if now.Before(a.until) {
			p.at(a.until)
			return
		}
		p.unanswered()
		p.restUntil = now.Add(p.restTime(now))
		if p.attempts > raceAttempts && !p.anyFresh(now) {
			p.calm()
		}
	}
	switch {
	case len(p.all) == 0:
		return
	case a.state == asked && now.Sub(a.asked) < restartPause:
		p.at(a.asked.Add(restartPause))
		return
	case now.Before(p.restUntil):
		p.at(p.restUntil)
		p.calmLater(now)
		return
	case now.Before(p.startAt) || !p.mayStart(now):
		p.at(later(p.startAt, p.restUntil))
		return
	}
	if p.troubled.IsZero() {
		p.troubled = now
	}
	p.plan(now)
	a.state, a.asked = asked, now
	p.do(Restart, netip.AddrPort{})
	p.at(now.Add(restartPause))
}

// unanswered ends an attempt of a search that had no answer.
func (p *Peer) unanswered() {
	a := &p.attempt
	if a.state != made {
		return
	}
	for _, s := range a.did {
		if c := p.find(s.to); c != nil && c.result == Waiting {
			c.result = Silent
		}
	}
	p.attempts++
	*a = attempt{}
}

// anyFresh reports whether a candidate has answered a short time ago.
func (p *Peer) anyFresh(now time.Time) bool {
	return slices.ContainsFunc(p.all, func(c *candidate) bool { return now.Sub(c.good) < freshTime })
}

// mayStart reports whether another attempt may start now. If not, it puts that off. There
// must be candidates.
func (p *Peer) mayStart(now time.Time) bool {
	if p.attempts < raceAttempts {
		return true
	}
	one, due := p.turn(now)
	if due.After(now) {
		p.startAt = due
		return false
	}
	ok, turn := p.budget.ready(!one.proven(now), now)
	p.restUntil = turn
	return ok
}

// longest compares by who led an attempt longest ago.
func longest(a, b *candidate) int { return a.led.Compare(b.led) }

// forgetLeaders lets each candidate lead anew, the path in use last.
func (p *Peer) forgetLeaders(now time.Time) {
	for _, c := range p.all {
		c.led = time.Time{}
		if c.Addr == p.current {
			c.led = now
		}
	}
}

// turn returns the candidate whose turn it is, and when it may be tried: of those that may
// be now the one that led longest ago, else the one that may be soonest.
func (p *Peer) turn(now time.Time) (one *candidate, due time.Time) {
	caller := p.caller(now)
	for _, c := range p.order(now) {
		at := now
		if !c.proven(now) && c != caller {
			at = later(now, c.sent.Add(unprovenPause))
		}
		if one == nil || at.Before(due) || at.Equal(due) && longest(c, one) < 0 {
			one, due = c, at
		}
	}
	return one, due
}

// plan says what is sent of the next initiation of a search.
func (p *Peer) plan(now time.Time) {
	list := p.order(now)
	n := p.attempts
	p.attempt = attempt{kind: searching}
	a := &p.attempt
	caller, only := p.caller(now), p.find(p.only)
	p.only = netip.AddrPort{}
	switch {
	case only != nil:
		a.patience = slowPatience
		a.add(only, 0)
	case caller != nil && n < raceAttempts:
		a.patience = max(racePatience, 3*p.rtt)
		p.spread(now, list, caller, leadTime)
	case n == 0:
		a.patience = max(firstPatience, 3*p.rtt)
		p.spread(now, list, nil, 0)
		for _, again := range repeats {
			for _, c := range list[:min(len(list), maxRepeated)] {
				if c.Addr != p.left {
					a.add(c, again)
				}
			}
		}
	case n < raceAttempts:
		a.patience = max(racePatience, 3*p.rtt)
		p.spread(now, list, slices.MinFunc(list, longest), leadTime)
	default:
		p.planOne(now, list)
	}
}

// spread adds copies for all: first the leader, and after a while the others.
func (p *Peer) spread(now time.Time, list []*candidate, leader *candidate, lead time.Duration) {
	a := &p.attempt
	if leader != nil {
		a.add(leader, 0)
		leader.led = now
	}
	gap := min(raceGap, raceSpread/time.Duration(len(list)))
	for i, c := range list {
		after := lead + time.Duration(i)*gap
		if c.Addr == p.left {
			after += leadTime
		}
		if c != leader {
			a.add(c, after)
		}
	}
}

// caller returns the candidate from which the peer has just called, nil if it has not. The
// way from there works; and no way that lacks one back, which is what loses races, gives a
// call.
func (p *Peer) caller(now time.Time) *candidate {
	if p.answers == 0 || now.Sub(p.called) > callTime {
		return nil
	}
	return p.find(p.current)
}

// planOne plans an attempt at one candidate. In every other rotation, those that have
// answered before get a late copy, too: so a path that comes back is used soon, and one
// without a way back can't win each time.
func (p *Peer) planOne(now time.Time, list []*candidate) {
	a := &p.attempt
	if p.weary(now) && p.caller(now) == nil {
		a.patience = longPatience
		p.planSome(now, list)
		return
	}
	one, _ := p.turn(now)
	one.led = now
	rotation := (p.attempts - raceAttempts) / len(list)
	if caller := p.caller(now); caller != nil && caller != one {
		a.add(caller, 0)
		a.add(one, leadTime)
	} else {
		a.add(one, 0)
	}
	switch {
	case p.anyFresh(now):
		a.patience = max(racePatience, 3*p.rtt)
	case rotation == 0:
		a.patience = slowPatience
	default:
		a.patience = longPatience
	}
	if one.proven(now) {
		a.add(one, repeats[1])
	}
	if rotation%2 == 0 {
		for _, c := range list {
			if c != one && c.proven(now) {
				a.add(c, leadTime)
			}
		}
	}
}
