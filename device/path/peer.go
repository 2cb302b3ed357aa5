package path

import (
	"net/netip"
	"time"
)

// Peer decides for one peer. Its methods are called as things happen. Each returns what to
// do at once; Step, what has become due. It must not be used concurrently.
type Peer struct {
	lower  bool // this node has the smaller public key
	budget *Budget
	all    []*candidate

	settled  bool
	current  netip.AddrPort // where the device sends to; zero: nowhere
	heard    time.Time
	troubled time.Time // since when tries have had no answer; zero: none is open
	rtt      time.Duration
	loss     float64 // of echo requests, smoothed
	changes  int     // how often the path in use has changed

	attempt   attempt
	attempts  int            // unanswered, of this search
	left      netip.AddrPort // the path that was given up before this search
	startAt   time.Time      // of the next attempt
	restUntil time.Time      // no attempt before, except by the device itself
	repeats   bool           // the device repeats its last initiation
	only      netip.AddrPort // to which the next attempt goes alone; zero: to all
	restarted time.Time      // when a search last began anew
	shook     time.Time      // when the device last made an initiation or a response

	check     check
	asked     time.Time // when the first echo request without an answer was sent
	muteUntil time.Time // the peer does not answer echoes
	mutes     int       // checks in a row in which it answered initiations alone
	answers   int       // responses that we sent, since the last handshake
	called    time.Time // when the last one was
	crossed   bool      // it made our own initiation void
	betterAt  time.Time // when better candidates are looked at next

	out  []Action
	wake time.Time
}

// New returns a Peer without candidates. Lower says that this node's public key is the
// smaller one.
func New(lower bool, b *Budget) *Peer { return &Peer{lower: lower, budget: b} }

// Rekeyed is called when this node gets another key. The sessions end, and what was waited for
// is void: the next initiation that the device makes leaves at once. Lower is as for New.
func (p *Peer) Rekeyed(lower bool) {
	p.lower, p.crossed, p.answers = lower, false, 0
	p.attempt, p.startAt = attempt{}, time.Time{}
}

// Step returns what has become due, and when to call it again; a zero time means when
// something has happened.
func (p *Peer) Step(now time.Time, o Observed) ([]Action, time.Time) {
	p.begin()
	p.hear(o.Heard)
	p.send(now)
	if p.settled {
		p.watch(now, o)
	} else {
		p.search(now)
	}
	return p.out, p.wake
}

func (p *Peer) begin() { p.out, p.wake = nil, time.Time{} }

func (p *Peer) do(v Verb, to netip.AddrPort) { p.out = append(p.out, Action{v, to}) }

// at has Step be called again at a time.
func (p *Peer) at(t time.Time) {
	if p.wake.IsZero() || t.Before(p.wake) {
		p.wake = t
	}
}

// Made is called when the device has made an initiation, by itself or because it was asked
// to. The copies that it returns are all that is sent of it now.
func (p *Peer) Made(now time.Time, byItself bool) []Action {
	p.begin()
	p.shook, p.repeats = now, true
	p.budget.worked(now)
	a := &p.attempt
	switch {
	case len(p.all) == 0:
		p.attempt = attempt{}
		return nil
	case a.state == asked && (!byItself || a.kind == searching):
	case p.settled: // it renews the session, or has heard nothing for 15 s
		p.planVerify()
	case a.state == made && now.Before(a.until): // the one before is void
		p.plan(now)
	default:
		p.unanswered()
		if !p.mayGo(now) {
			return nil
		}
		p.plan(now)
	}
	p.crossed = false
	a.state, a.made, a.until = made, now, now.Add(a.patience)
	for i := range a.sends {
		a.sends[i].at = now.Add(a.sends[i].after)
	}
	p.send(now)
	return p.out
}

// Answered is called when a response to the last initiation came in. It is not
// authenticated yet: [Peer.Session] follows if it is right.
func (p *Peer) Answered(now time.Time, from netip.AddrPort) {
	a := &p.attempt
	if a.state != made {
		if soon := now.Add(voidPause); p.crossed && p.startAt.After(soon) { // so the peer's is void, too
			p.startAt = soon
		}
		p.crossed = false
		return
	}
	a.answered = now
	if s := a.sent(from); s.count == 1 {
		a.rtt, a.from = now.Sub(s.at), from
	}
}

// Session is called when a handshake was completed, with the address that the device sends
// to.
func (p *Peer) Session(now time.Time, at netip.AddrPort) {
	var rtt time.Duration
	if p.attempt.from == at {
		rtt = p.attempt.rtt
	}
	c := p.see(at)
	if p.attempt.kind == verifying && p.check.sent > 0 && p.attempt.state == made {
		if p.mutes++; p.mutes > 1 { // loss may do that once
			p.muteUntil = now.Add(muteTime)
		}
	}
	p.use(at, now)
	c.answer(now, rtt)
	p.rtt = smooth(p.rtt, rtt)
	if !p.settled {
		p.settled, p.betterAt = true, now.Add(betterPause)
	}
	p.attempt, p.check = attempt{}, check{}
	p.attempts, p.answers, p.troubled, p.crossed = 0, 0, time.Time{}, false
	p.restUntil, p.repeats = time.Time{}, false
	p.hear(now)
}

// Called is called when the peer has called, and the device's answer is about to leave:
// nothing is started meanwhile.
func (p *Peer) Called(now time.Time) {
	p.answers = max(p.answers, 1)
	p.called = now
}

// Responded is called when the device has answered an initiation of the peer, with the
// address it sent that to.
func (p *Peer) Responded(now time.Time, to netip.AddrPort) {
	a := &p.attempt
	crossed := a.state == made && now.Sub(a.last()) < max(crossTime, 2*p.rtt)
	void := a.state == asked // an initiation now would end the session that the response is for
	p.answers++
	p.shook, p.called, p.restUntil = now, now, time.Time{}
	p.see(to)
	p.use(to, now)
	if p.settled {
		if p.check.stage == verify && p.answers <= maxAnswers { // ours is void, but the peer is there
			*a = attempt{}
			p.check.asked, p.check.until = 0, now.Add(p.verifyTime())
			if !p.lower {
				p.check.until = p.check.until.Add(answerPause)
			}
		}
		return
	}
	switch {
	case crossed && p.lower: // WireGuard takes no two within a few milliseconds
		p.startAt = later(now, a.last().Add(crossPause))
	case p.answers > maxAnswers: // they do not arrive
		return
	default:
		p.startAt = now.Add(max(answerPause, 2*p.rtt))
	}
	if crossed || void {
		*a, p.crossed = attempt{}, crossed
	}
}

// Echoed is called when an echo came back, after that time.
func (p *Peer) Echoed(now time.Time, rtt time.Duration) {
	p.muteUntil, p.mutes, p.answers = time.Time{}, 0, 0
	if !p.asked.IsZero() { // what was sent before this one is lost
		// So many in a row are a path that was cut and is back, which does not lose much.
		if lost := now.Add(-rtt).Sub(p.asked) / echoGap; lost < echoes {
			for range lost {
				p.loss += (1 - p.loss) / 8
			}
		}
		p.asked = time.Time{}
	}
	p.loss -= p.loss / 8
	p.rtt = smooth(p.rtt, rtt)
	if c := p.find(p.current); c != nil {
		c.answer(now, rtt)
	}
	p.hear(now)
}

// Cookied is called when a node that is under load answered the last initiation with a
// cookie, which is good for the address from which that node saw this one. The next
// initiation goes there alone.
func (p *Peer) Cookied(now time.Time, from netip.AddrPort) {
	if p.settled || p.find(from) == nil || p.attempt.state != made {
		return
	}
	p.attempt = attempt{}
	p.only, p.startAt, p.restUntil = from, now.Add(crossPause), time.Time{}
}

// Roamed is called when the device sends to another address than before, as the peer did.
func (p *Peer) Roamed(now time.Time, to netip.AddrPort) {
	if to == p.current {
		return
	}
	c := p.see(to)
	switch a := &p.attempt; {
	case p.settled:
		c.answer(now, 0)
	case a.state == made: // the peer sends from there: what is missing is a session
		a.sends = append(a.sends, transmission{to: to, at: now})
	default:
		p.only, p.startAt, p.restUntil = to, now.Add(answerWait), time.Time{}
	}
	p.use(to, now)
}

// Failed is called when this host refused to send to an address.
func (p *Peer) Failed(now time.Time, to netip.AddrPort, why string) {
	c := p.find(to)
	if c == nil {
		return
	}
	c.result, c.why = Refused, why
	switch a := &p.attempt; {
	case p.settled && a.kind == verifying && a.refused(p):
		p.check.until = now
	case p.settled && to == p.current && p.check.stage != verify:
		p.troubled = now
		p.test(now, verify)
	case !p.settled && a.state == made && a.refused(p):
		a.until = now.Add(refusedPause)
	}
}

// Changed is called when addresses, routes or links of this host have changed, or when it
// was asleep: everything is looked at again.
func (p *Peer) Changed(now time.Time) {
	for _, c := range p.all {
		c.hold = time.Time{}
	}
	p.betterAt = now
	switch {
	case !p.settled:
		p.restart(now)
	case p.check.stage == none:
		p.test(now, echo)
	}
}

// hear notes that something came from the peer. A check that began before is over.
func (p *Peer) hear(at time.Time) {
	if !at.After(p.heard) {
		return
	}
	p.heard = at
	if p.settled && p.check.stage != none && at.After(p.check.since) && p.answers <= maxAnswers {
		p.check, p.troubled = check{}, time.Time{}
		if p.attempt.kind == verifying {
			p.attempt = attempt{}
		}
	}
}

// use notes where the device sends to.
func (p *Peer) use(to netip.AddrPort, now time.Time) {
	if to == p.current {
		return
	}
	if old := p.find(p.current); old != nil && p.settled {
		old.leave(now)
	}
	p.current, p.betterAt = to, now.Add(betterPause)
	p.rtt, p.loss = 0, 0
	if c := p.find(to); c != nil {
		p.rtt = c.rtt
	}
	p.changes++
}
