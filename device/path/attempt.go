package path

import (
	"net/netip"
	"slices"
	"time"
)

// answerWait is how long copies are held back once a response has come in.
const answerWait = 100 * time.Millisecond

type kind int

const (
	searching kind = iota
	verifying      // the path in use
	bettering      // a better candidate
)

type state int

const (
	idle  state = iota
	asked       // the device was asked for an initiation
	made        // it has made one
)

// attempt is one initiation.
type attempt struct {
	kind     kind
	state    state
	asked    time.Time
	made     time.Time
	until    time.Time // then it is unanswered
	patience time.Duration
	sends    []transmission
	did      []transmission // those that left, one for each address
	answered time.Time      // when a response came, authentic or not
	from     netip.AddrPort // where it came from, if the time it took is known
	rtt      time.Duration
}

// transmission is a copy of an initiation, or an empty datagram that opens a NAT.
type transmission struct {
	to    netip.AddrPort
	open  bool          // it is such a datagram
	after time.Duration // after the initiation was made
	at    time.Time     // when it is due; of the first one that left: when it did
	count int           // how many left
}

// sent returns what was sent to an address.
func (a *attempt) sent(to netip.AddrPort) transmission {
	for _, s := range a.did {
		if s.to == to {
			return s
		}
	}
	return transmission{}
}

// last returns when the last of the first copies left.
func (a *attempt) last() time.Time {
	at := a.made
	for _, s := range a.did {
		at = later(at, s.at)
	}
	return at
}

func (a *attempt) add(c *candidate, after time.Duration) {
	a.sends = append(a.sends, transmission{to: c.Addr, after: after})
}

// refused reports whether this host refused to send to all addresses of the attempt.
func (a *attempt) refused(p *Peer) bool {
	return len(a.sends) == 0 && !slices.ContainsFunc(a.did, func(s transmission) bool {
		c := p.find(s.to)
		return c != nil && c.result != Refused
	})
}

// send sends what is due of the attempt, and of the datagrams that open NATs.
func (p *Peer) send(now time.Time) {
	a := &p.attempt
	if wait := a.answered.Add(answerWait); !a.answered.IsZero() && now.Before(wait) {
		p.at(wait)
		return
	}
	rest := a.sends[:0]
	for _, s := range a.sends {
		switch {
		case s.at.IsZero(): // not made yet
			rest = append(rest, s)
		case s.at.After(now):
			p.at(s.at)
			rest = append(rest, s)
		default:
			p.transmit(s, now)
		}
	}
	a.sends = rest
}

func (p *Peer) transmit(s transmission, now time.Time) {
	c := p.find(s.to)
	if c == nil {
		return
	}
	a := &p.attempt
	i := slices.IndexFunc(a.did, func(d transmission) bool { return d.to == s.to })
	if i < 0 && !s.open {
		c.tries++
	}
	if !c.proven(now) && !p.allowed(c, now) {
		c.result = Limited
		return
	}
	if s.open {
		p.do(Open, s.to)
		return
	}
	p.do(Copy, s.to)
	c.sent, c.result, c.why = now, Waiting, ""
	if i < 0 {
		i, s.count, s.at = len(a.did), 0, now
		a.did = append(a.did, s)
	}
	a.did[i].count++
}

// allowed reports whether a datagram may be sent to a candidate that has not answered.
func (p *Peer) allowed(c *candidate, now time.Time) bool {
	if c.tries > raceAttempts && now.Sub(c.sent) < unprovenPause && c != p.caller(now) {
		return false
	}
	return p.budget.take(c.Addr.Addr(), c.tries <= raceAttempts, now)
}
