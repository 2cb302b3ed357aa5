package engine

import (
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// crossGap is the least time from an initiation to a response to the same peer. A slow
// machine has handled the first by then.
const crossGap = 20 * time.Millisecond

// held is a response that is sent later; without a message, there is none.
//
// When initiations cross, the peer gets our initiation and then the response to its own.
// Upstream handles messages in parallel. It checks the state of a handshake before it
// verifies a response, and does not check again before it takes it. So if it handles both
// at once, its session has the index of another handshake: it sends in that session, and
// drops what it gets, until a test of the path fails. If the initiation is handled first,
// the response is void, and device/path starts another handshake at once.
//
// A response may also be made while the device is about to end sessions for an initiation of
// its own, and it is not known which of both came first. If the initiation follows, the
// session of the response has ended, and the response is dropped: the peer would take that
// session, in which this node can't send. If none follows, the response leaves.
type held struct {
	at  time.Time // zero: when it is known whether an initiation follows
	msg []byte
	to  conn.Endpoint
}

// hold reports whether a response to a peer is sent later, as an initiation has just left.
// The caller holds Engine.mu.
func (p *peer) hold(now time.Time, msg []byte, to conn.Endpoint) bool {
	p.held = held{} // the one before is void
	at := p.initiated.Add(crossGap)
	if !p.race || !now.Before(at) {
		p.responded = now
		return false
	}
	p.held = held{at, msg, to}
	return true
}

// tooSoon reports whether an initiation would arrive together with a response that has just
// left, as it may when the device makes both at the same moment. The session of the response
// is then the one to wait for, unless the device has ended it.
func (p *peer) tooSoon(now time.Time) bool {
	return p.race && !p.ended && now.Sub(p.responded) < crossGap
}

// sendHeld sends the response that is held, if it is due, and returns when it will be; zero:
// there is none. The caller holds mu.
func (e *Engine) sendHeld(p *peer, now time.Time) time.Time {
	if p.held.at.IsZero() || now.Before(p.held.at) {
		return p.held.at
	}
	r := p.held
	p.held, p.responded = held{}, now
	_ = e.bind.Send([][]byte{r.msg}, r.to) // to upstream, it is lost
	return time.Time{}
}
