package path

import (
	"net/netip"
	"time"
)

const (
	// dataTime is how long data goes out without anything back, and silence how long
	// nothing comes at all, until the path is checked.
	dataTime = 1500 * time.Millisecond
	silence  = 28 * time.Second
	// A check is that many echo requests, echoGap apart. On a path that loses more than
	// lossy of them, and without traffic, it takes more to be sure.
	echoGap    = 100 * time.Millisecond
	echoes     = 10
	manyEchoes = 24
	lossy      = 0.1
	// The last echo is waited for half as long again as it should take, and so is the
	// answer to an initiation, within these bounds.
	verifies     = 1
	manyVerifies = 4
	minEcho      = 200 * time.Millisecond
	maxEcho      = time.Second
	minVerify    = 250 * time.Millisecond
	maxVerify    = 1500 * time.Millisecond
	// muteTime is how long a peer that answers initiations alone is asked for no echo.
	muteTime = 10 * time.Minute
	// maxAnswers is how many responses are sent without a session before that counts as
	// a sign of trouble.
	maxAnswers = 2
	// Better candidates are looked at betterPause after a path was settled, and then
	// each betterEvery.
	betterPause = 6 * time.Second
	betterEvery = 10 * time.Second
	// handshakeGap is the time between two initiations in which the device keeps a
	// session, with some reserve.
	handshakeGap = 5*time.Second + 100*time.Millisecond
	// betterPatience is how long a better candidate has to answer.
	betterPatience = 1500 * time.Millisecond
)

type stage int

const (
	none stage = iota
	echo
	verify
)

// check is a test of the path in use.
type check struct {
	stage stage
	since time.Time
	until time.Time // then the next step follows
	sent  int       // echo requests
	asked int       // initiations
	lossy bool      // many get lost here
}

// watch looks after a path that works.
func (p *Peer) watch(now time.Time, o Observed) {
	if p.check.stage == none {
		p.doubt(now, o)
	}
	switch p.check.stage {
	case echo:
		p.askEcho(now, o)
	case verify:
		p.askVerify(now)
	case none:
		p.seekBetter(now)
	}
}

// doubt begins a check if there is a reason to.
func (p *Peer) doubt(now time.Time, o Observed) {
	quiet := p.heard.Add(silence)
	if p.busy(now, o) || p.answers > maxAnswers || !quiet.After(now) || p.ignored(now) {
		p.test(now, echo)
		return
	}
	p.at(quiet)
}

// busy reports whether data goes out without anything back.
func (p *Peer) busy(now time.Time, o Observed) bool {
	if o.Unanswered.IsZero() {
		return false
	}
	due := later(o.Unanswered, p.heard).Add(dataTime)
	if due.After(now) {
		p.at(due)
		return false
	}
	return true
}

// ignored reports whether an initiation that the device made by itself had no answer.
func (p *Peer) ignored(now time.Time) bool {
	a := &p.attempt
	switch {
	case a.kind != verifying || a.state != made:
	case now.Before(a.until):
		p.at(a.until)
	case p.heard.Before(a.made):
		return true
	default:
		*a = attempt{}
	}
	return false
}

// test begins a check with a stage. A mute peer is asked for no echo.
func (p *Peer) test(now time.Time, first stage) {
	if now.Before(p.muteUntil) {
		first = verify
	}
	p.check = check{stage: first, since: now, until: now, lossy: p.loss > lossy}
	if p.attempt.kind == verifying {
		p.attempt = attempt{}
	}
}

func (p *Peer) echoTime() time.Duration { return min(max(p.rtt*3/2, minEcho), maxEcho) }

func (p *Peer) askEcho(now time.Time, o Observed) {
	c := &p.check
	limit := manyEchoes
	if p.busy(now, o) && !c.lossy {
		limit = echoes
	}
	switch {
	case now.Before(c.until):
		p.at(c.until)
		return
	case c.sent >= limit:
		c.stage = verify
		p.askVerify(now)
		return
	case c.sent > 1 && p.troubled.IsZero():
		p.troubled = c.since
	}
	c.sent++
	p.asked = c.since
	c.until = now.Add(echoGap)
	if c.sent == limit {
		c.until = now.Add(p.echoTime())
	}
	p.do(Echo, netip.AddrPort{})
	p.at(c.until)
}

// askVerify sends an initiation on the current path, and gives the path up if that has no
// answer.
func (p *Peer) askVerify(now time.Time) {
	c := &p.check
	limit := verifies
	if c.lossy {
		limit = manyVerifies
	}
	switch {
	case now.Before(c.until):
		p.at(c.until)
	case c.asked == limit:
		p.giveUp(now)
	default:
		c.asked++
		p.planVerify()
		p.attempt.state, p.attempt.asked = asked, now
		c.until = now.Add(p.attempt.patience)
		p.do(p.initiate(now), netip.AddrPort{})
		p.at(c.until)
	}
}

// initiate returns how to get an initiation of the device now.
func (p *Peer) initiate(now time.Time) Verb {
	if now.Sub(p.shook) < handshakeGap {
		return Restart
	}
	return Initiate
}

func (p *Peer) verifyTime() time.Duration { return min(max(p.rtt*3/2, minVerify), maxVerify) }

func (p *Peer) planVerify() {
	wait := p.verifyTime()
	p.attempt = attempt{kind: verifying, patience: wait}
	if c := p.find(p.current); c != nil {
		p.attempt.add(c, 0)
		p.attempt.add(c, wait/3)
	}
}

// giveUp leaves the path. The search starts with the others.
func (p *Peer) giveUp(now time.Time) {
	if c := p.find(p.current); c != nil {
		c.result, c.good = Silent, later(c.good, p.heard)
		c.leave(now)
	}
	if p.troubled.IsZero() {
		p.troubled = p.check.since
	}
	p.settled, p.check, p.answers = false, check{}, 0
	p.attempts, p.attempt, p.left = 0, attempt{}, p.current
	p.startAt, p.restarted, p.restUntil = now, now, time.Time{}
	p.forgetLeaders(now)
	p.search(now)
}

// seekBetter tries a better candidate than the path in use. The session stays.
func (p *Peer) seekBetter(now time.Time) {
	a := &p.attempt
	if a.kind == bettering && a.state != idle {
		if now.Before(a.until) {
			p.at(a.until)
			return
		}
		p.missed(now)
	}
	if p.betterAt.IsZero() || a.state == made && now.Before(a.until) {
		return
	}
	if now.Before(p.betterAt) {
		p.at(p.betterAt)
		return
	}
	c, next := p.better(now)
	if c == nil {
		p.betterAt = next
		if !next.IsZero() {
			p.at(next)
		}
		return
	}
	if due := p.shook.Add(handshakeGap); due.After(now) {
		p.betterAt = due
		p.at(due)
		return
	}
	p.attempt = attempt{kind: bettering, patience: max(betterPatience, 3*p.rtt)}
	a.add(c, 0)
	a.state, a.asked, a.until = asked, now, now.Add(betterPatience)
	p.betterAt = now.Add(betterEvery)
	p.do(Initiate, netip.AddrPort{})
	p.do(Keepalive, netip.AddrPort{}) // see missed
	p.at(a.until)
}

// missed ends the try of a better candidate. The peer may have roamed to its path, which has
// no way back: a keepalive brings it home.
func (p *Peer) missed(now time.Time) {
	for _, s := range p.attempt.did {
		if c := p.find(s.to); c != nil {
			c.result = Silent
			c.leave(now)
			p.do(Keepalive, netip.AddrPort{})
		}
	}
	p.attempt = attempt{}
}

// better returns the candidate to try instead of the path in use; nil with the next time to
// look for one. It has a better rank, or is the peer's new address on the relay in use: the peer
// has a better way to its relay now, and announces the former address behind it.
func (p *Peer) better(now time.Time) (best *candidate, next time.Time) {
	current := p.find(p.current)
	if current == nil {
		return nil, time.Time{}
	}
	behind := false
	for _, c := range p.all {
		behind = behind || c == current
		replaces := !behind && c.Relayed && current.Relayed && c.Addr.Addr() == current.Addr.Addr()
		switch {
		case !c.listed || c.Rank >= current.Rank && !replaces:
		case c.hold.After(now):
			if next.IsZero() || c.hold.Before(next) {
				next = c.hold
			}
		case best == nil || c.Rank < best.Rank:
			best = c
		}
	}
	return best, next
}
