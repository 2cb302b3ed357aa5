package path

import (
	"net/netip"
	"time"
)

// Admit reports whether an initiation may be sent to an address that somebody else has
// chosen, and notes that it is. The Peer itself does nothing about it.
func (p *Peer) Admit(now time.Time, to netip.AddrPort) bool {
	c := p.see(to)
	c.tries++
	if !c.proven(now) && !p.budget.take(to.Addr(), c.tries <= raceAttempts, now) {
		c.result = Limited
		return false
	}
	c.sent, c.result = now, Waiting
	return true
}
