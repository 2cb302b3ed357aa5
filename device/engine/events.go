package engine

import (
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// initiation sends an initiation that the device has made, to the endpoints whose turn it
// is.
func (e *Engine) initiation(msg []byte, ep conn.Endpoint) error {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.peerOf(msg)
	if p == nil { // of a peer that is not ours, or no longer
		return e.bind.Send([][]byte{msg}, ep)
	}
	byItself := p != e.asking
	p.ended = !byItself && e.ending
	if !byItself {
		e.budget.Took(now.Sub(e.since))
		e.asking, p.held = nil, held{} // the session of a response that waits for it is over
	}
	e.indexes.addOurs(senderOf(msg), p)
	p.message, p.cookie = msg, false
	if p.race {
		e.soon(p, now)
		return e.do(p, p.path.Made(now, byItself))
	}
	to := addressOf(ep)
	if !p.path.Admit(now, to) {
		return errLimit
	}
	return e.transmit(p, to, msg)
}

// response notes a response that the device has made, and reports whether it is sent later.
func (e *Engine) response(msg []byte, ep conn.Endpoint) (later bool) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.peerOf(msg)
	if p == nil {
		return false
	}
	e.indexes.addOurs(senderOf(msg), p)
	e.indexes.addTheirs(receiverOfResponse(msg), p)
	p.endpoint.Store(&ep)
	if p == e.asking && e.ending {
		p.held = held{msg: msg, to: ep}
		return true
	}
	p.path.Responded(now, addressOf(ep))
	e.soon(p, now)
	return p.hold(now, msg, ep)
}

// peerOf returns the peer for which a handshake message is; nil if there is none. The
// caller holds mu.
func (e *Engine) peerOf(msg []byte) *peer {
	if e.asking != nil && isFor(msg, &e.asking.mac) {
		return e.asking
	}
	for _, p := range e.peers {
		if isFor(msg, &p.mac) {
			return p
		}
	}
	return nil
}

// answered notes a response that came in. The device may still refuse it.
func (e *Engine) answered(msg []byte, ep conn.Endpoint) {
	p := e.indexes.ours(receiverOfResponse(msg))
	if p == nil {
		return
	}
	e.indexes.addTheirs(senderOf(msg), p)
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	p.path.Answered(now, addressOf(ep))
	e.soon(p, now)
}

// firstCookie reports whether a cookie reply is the first to an initiation. One to a peer
// that is not the engine's, as in a device without a mesh, is left to the device.
func (e *Engine) firstCookie(msg []byte, ep conn.Endpoint) bool {
	p := e.indexes.ours(receiverOf(msg))
	if p == nil {
		return true
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.cookie {
		return false
	}
	p.cookie = true
	p.path.Cookied(now, addressOf(ep))
	e.soon(p, now)
	return true
}

// roamed notes that the device sends to another endpoint than before.
func (e *Engine) roamed(p *peer, ep conn.Endpoint) {
	p.endpoint.Store(&ep)
	to := addressOf(ep)
	e.mu.Lock()
	defer e.mu.Unlock()
	if at, _ := p.path.InUse(); at == to { // a bind may have several endpoints for an address
		return
	}
	now := time.Now()
	p.path.Roamed(now, to)
	e.soon(p, now)
	e.changed()
}

// refused notes that this host has refused to send packets.
func (e *Engine) refused(p *peer, ep conn.Endpoint, err error) {
	why := obstacle(err)
	now := e.clock()
	if last := p.refused.Load(); why == "" || last != 0 && now-last < int64(refusedPause) {
		return
	}
	p.refused.Store(now)
	e.mu.Lock()
	defer e.mu.Unlock()
	p.path.Failed(time.Now(), addressOf(ep), why)
	e.soon(p, time.Now())
}

// echoed notes that an echo of a peer came back.
func (e *Engine) echoed(p *peer, rtt time.Duration) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	p.path.Echoed(now, rtt)
	p.mtu.Echoed()
	e.soon(p, now)
}
