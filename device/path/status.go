package path

import (
	"net/netip"
	"time"
)

// Result is what the last try of a candidate led to.
type Result string

// Results.
const (
	Untried  Result = "untried"
	Waiting  Result = "waiting"   // sent, and no answer yet
	Answered Result = "answered"  // a handshake was completed there
	Silent   Result = "no answer" // within the time of an attempt
	Refused  Result = "refused"   // this host did not send
	Limited  Result = "limited"   // not sent: too many to addresses that never answered
)

// Status is what a Peer knows.
type Status struct {
	Current    netip.AddrPort // zero: none
	Settled    bool           // the path works
	Troubled   time.Time      // since when tries have had no answer; zero: they have
	RTT        time.Duration  // 0: not known
	Loss       float64        // of echo requests, 0 to 1
	Changes    int            // of the path in use
	Candidates []CandidateStatus
}

// CandidateStatus is what a Peer knows about a candidate.
type CandidateStatus struct {
	Addr     netip.AddrPort
	Rank     int
	Listed   bool // it was announced; else the peer was seen there
	Result   Result
	Why      string // with Refused
	RTT      time.Duration
	Sent     time.Time // the last initiation
	Answered time.Time // when it last worked
}

// Settled reports whether a path works.
func (p *Peer) Settled() bool { return p.settled }

// Asked reports whether an initiation is wanted of the device, and not made yet.
func (p *Peer) Asked() bool { return p.attempt.state == asked }

// Status returns what is known, with the candidates in the order in which they are tried.
func (p *Peer) Status(now time.Time) Status {
	s := Status{
		Current: p.current, Settled: p.settled, Troubled: p.troubled, RTT: p.rtt, Loss: p.loss, Changes: p.changes,
		Candidates: make([]CandidateStatus, 0, len(p.all)),
	}
	for _, c := range p.order(now) {
		s.Candidates = append(s.Candidates, CandidateStatus{c.Addr, c.Rank, c.listed, c.result, c.why, c.rtt, c.sent, c.good})
	}
	return s
}
