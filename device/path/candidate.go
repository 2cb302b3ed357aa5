package path

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

const (
	// MaxCandidates is how many endpoints of a peer are used; the others are ignored.
	MaxCandidates = 64
	maxSeen       = 2 // endpoints that nobody announced, at which the peer was
	// provenTime is how long an address may be tried freely after it has answered.
	provenTime = time.Hour
	// freshTime is how long it is tried at short intervals.
	freshTime = 5 * time.Minute
	// A path that was left is not preferred again for firstHold, then twice as long, up
	// to maxHold. The count starts anew after a path was good for steadyTime.
	firstHold  = 30 * time.Second
	maxHold    = 10 * time.Minute
	steadyTime = 10 * time.Minute
)

// Candidate is an endpoint at which a peer may be.
type Candidate struct {
	Addr netip.AddrPort
	Rank int // class of the path, the best is the lowest; paths of one class are alike
	// Relayed is whether it is an address of the peer on a relay.
	Relayed bool
}

// candidate is a Candidate with its history.
type candidate struct {
	Candidate
	listed bool // announced; else the peer was seen there
	sent   time.Time
	led    time.Time // when an attempt was last its own
	good   time.Time // when last known to work
	result Result
	why    string        // with Refused: the error
	rtt    time.Duration // smoothed; 0: not known
	tries  int           // attempts since it answered last
	holds  int           // how often it was left
	hold   time.Time     // until then it is not preferred
}

// proven reports whether the candidate has answered lately.
func (c *candidate) proven(now time.Time) bool {
	return now.Sub(c.good) < provenTime
}

// leave notes that the path was given up.
func (c *candidate) leave(now time.Time) {
	if now.Sub(c.hold) > steadyTime {
		c.holds = 0
	}
	c.hold = now.Add(min(firstHold<<min(c.holds, 10), maxHold))
	c.holds++
}

func (c *candidate) answer(now time.Time, rtt time.Duration) {
	c.result, c.why, c.good, c.tries = Answered, "", now, 0
	c.rtt = smooth(c.rtt, rtt)
}

// smooth returns a smoothed round-trip time with another sample; 0: not known.
func smooth(rtt, sample time.Duration) time.Duration {
	switch {
	case sample <= 0:
		return rtt
	case rtt == 0:
		return sample
	}
	return rtt + (sample-rtt)/4
}

// find returns the candidate with that address; nil if there is none.
func (p *Peer) find(addr netip.AddrPort) *candidate {
	for _, c := range p.all {
		if c.Addr == addr {
			return c
		}
	}
	return nil
}

// see returns the candidate with an address at which the peer is. If nobody announced it,
// it takes the place of one that is as unknown, and has the rank of its host, if that was
// announced with another port, else that of the last one.
func (p *Peer) see(addr netip.AddrPort) *candidate {
	if c := p.find(addr); c != nil {
		return c
	}
	c := &candidate{Candidate: Candidate{Addr: addr}, result: Untried}
	for _, other := range p.all {
		if other.listed {
			c.Rank = max(c.Rank, other.Rank)
		}
	}
	var seen []*candidate
	for _, other := range p.all {
		switch {
		case other.listed && other.Addr.Addr() == addr.Addr():
			c.Rank = other.Rank
		case !other.listed && other.Addr != p.current:
			seen = append(seen, other)
		}
	}
	if len(seen) >= maxSeen {
		oldest := slices.MinFunc(seen, func(a, b *candidate) int { return a.good.Compare(b.good) })
		p.all = slices.DeleteFunc(p.all, func(c *candidate) bool { return c == oldest })
	}
	p.all = append(p.all, c)
	return c
}

// SetCandidates replaces the announced endpoints, the most wanted first. History and the
// path in use stay. New endpoints are tried at once.
func (p *Peer) SetCandidates(now time.Time, list []Candidate) {
	list = list[:min(len(list), MaxCandidates)]
	all := make([]*candidate, 0, len(list)+maxSeen)
	var fresh []*candidate
	news := false // what is announced was not before, or has another rank
	for _, want := range list {
		if slices.ContainsFunc(all, func(c *candidate) bool { return c.Addr == want.Addr }) {
			continue
		}
		c := p.find(want.Addr)
		if c == nil {
			c = &candidate{result: Untried}
			fresh = append(fresh, c)
		}
		news = news || !c.listed || c.Rank != want.Rank
		c.Candidate, c.listed = want, true
		all = append(all, c)
	}
	moved := false
	for _, c := range p.all {
		if !slices.Contains(all, c) && (c.Addr == p.current || now.Sub(c.good) < freshTime) {
			moved = moved || c.listed && c.Addr == p.current
			c.listed = false
			all = append(all, c)
		}
	}
	p.all = all
	switch {
	case p.settled:
		if news {
			p.betterAt = now
		}
		if len(fresh) > 0 {
			p.suspect(now, moved)
		}
	case len(fresh) == 0:
	case p.racing(now):
		for _, c := range fresh {
			p.attempt.sends = append(p.attempt.sends, transmission{to: c.Addr, at: now})
		}
	default:
		p.restart(now)
	}
}

// suspect tests the path in use since the peer has new endpoints: it may have moved, or its
// NAT has started anew. If the endpoint in use is not announced any more, that is likely.
func (p *Peer) suspect(now time.Time, moved bool) {
	quiet := now.Sub(p.heard) > dataTime && !now.Before(p.muteUntil)
	if p.check.stage != none || !moved && !quiet {
		return
	}
	first := echo
	if moved {
		first = verify
	}
	p.test(now, first)
}

// order returns the candidates in the order in which they are tried: those that worked
// last and have not failed since, then by rank, round-trip time, and the order of the announcement.
func (p *Peer) order(now time.Time) []*candidate {
	list := slices.Clone(p.all)
	slices.SortStableFunc(list, func(a, b *candidate) int {
		history := 0
		switch proven := a.proven(now); {
		case proven && !b.proven(now):
			return -1
		case !proven && b.proven(now):
			return 1
		case proven:
			history = cmp.Or(cmp.Compare(a.tries, b.tries), b.good.Compare(a.good))
		}
		return cmp.Or(history, cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.rtt, b.rtt))
	})
	return list
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
