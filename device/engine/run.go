package engine

import (
	"context"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/device/path"
	"github.com/wirespan/wirespan/mesh"
)

// Run chooses paths until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-timer.C:
		}
		timer.Reset(time.Until(e.step(time.Now())))
	}
}

// step does what is due, and returns when to call it again.
func (e *Engine) step(now time.Time) time.Time {
	next := now.Add(time.Minute)
	e.mu.Lock()
	if e.device == nil {
		e.mu.Unlock()
		return next
	}
	for _, p := range e.peers {
		if !p.race {
			continue
		}
		if !p.wake.After(now) && !p.wake.IsZero() {
			e.stepPeer(p, now)
		}
		if !p.wake.IsZero() && p.wake.Before(next) {
			next = p.wake
		}
	}
	if e.relimit {
		e.limit()
	}
	p, verbs := e.dequeue()
	device, probes := e.device, e.asked
	e.asked = nil
	if len(e.queue) > 0 {
		next = now // copies that have become due meanwhile leave first
	}
	e.mu.Unlock()
	if p != nil {
		e.carryOut(device, p, verbs)
	}
	e.sendProbes(device, probes)
	return next
}

// stepPeer does what is due with a peer. The caller holds mu.
func (e *Engine) stepPeer(p *peer, now time.Time) {
	before := p.path.Settled()
	p.shown = nil
	p.watched.Store(false)
	o := path.Observed{Heard: e.time(p.heard.Load()), Unanswered: e.time(p.unanswered.Load())}
	p.watched.Store(!o.Unanswered.IsZero())
	actions, wake := p.path.Step(now, o)
	p.wake = earlier(earlier(wake, e.stepMTU(p, now)), e.sendHeld(p, now))
	_ = e.do(p, actions) // each candidate has its result
	if p.path.Settled() != before {
		e.changed()
		e.stun.doubted()
	}
}

// do sends what is to be sent, and queues what the device has to do. It returns an error
// if no copy of the initiation has left. The caller holds mu.
func (e *Engine) do(p *peer, actions []path.Action) error {
	result := errLimit
	for _, a := range actions {
		switch a.Do {
		case path.Copy:
			if err := e.transmit(p, a.To, p.message); err == nil || result != nil {
				result = err
			}
		case path.Open:
			_ = e.transmit(p, a.To, nil) // it is only to open a NAT
		default:
			e.checkRelay(p)
			if len(p.queued) == 0 {
				e.queue = append(e.queue, p)
			}
			p.queued = append(p.queued, a.Do)
		}
	}
	return result
}

// checkRelay has the relay of the path in use checked, if there is one: what the path is tested
// with may be lost at the relay. The caller holds mu.
func (e *Engine) checkRelay(p *peer) {
	at, _ := p.path.InUse()
	if _, relay := mesh.Direct(at); relay != "" && e.relays != nil && p.path.Settled() {
		e.relays.CheckRelay(relay)
	}
}

// transmit sends a message to a candidate. The caller holds mu.
func (e *Engine) transmit(p *peer, to netip.AddrPort, message []byte) error {
	now := time.Now()
	if message != nil && p.tooSoon(now) {
		return errLimit
	}
	ep, err := e.bind.ParseEndpoint(to.String())
	if err != nil {
		return err
	}
	err = e.bind.Send([][]byte{message}, ep)
	if message != nil {
		p.initiated = now
	}
	if why := obstacle(err); why != "" {
		p.path.Failed(time.Now(), to, why)
	}
	return err
}

// dequeue returns the first peer for which the device has to do something. The caller
// holds mu.
func (e *Engine) dequeue() (*peer, []path.Verb) {
	if len(e.queue) == 0 {
		return nil, nil
	}
	p := e.queue[0]
	e.queue = e.queue[1:]
	verbs := p.queued
	p.queued = nil
	return p, verbs
}

// carryOut has the device do something with a peer. It calls back by Bind.Send.
func (e *Engine) carryOut(device Device, p *peer, verbs []path.Verb) {
	for _, v := range verbs {
		switch v {
		case path.Initiate, path.Restart:
			device.Initiate(p.key, v == path.Restart, func() bool { return e.ask(p, v == path.Restart) })
			e.notMade(p)
		case path.Keepalive:
			device.Keepalive(p.key)
		case path.Rest:
			device.Rest(p.key)
		case path.Echo:
			if p.address.IsValid() {
				device.Echo(p.address, func(rtt time.Duration) { e.echoed(p, rtt) })
			}
		}
	}
}

// ask notes whose initiation the device makes now. It reports whether that is still wanted:
// the device may have made one by itself meanwhile.
func (e *Engine) ask(p *peer, ending bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !p.path.Asked() {
		return false
	}
	e.asking, e.ending, e.since = p, ending, time.Now()
	return true
}

// notMade notes that the device makes no initiation any more, if it has not done so. Then
// the session of a response that was made meanwhile has not ended, and the response leaves.
func (e *Engine) notMade(p *peer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asking == nil {
		return
	}
	e.asking = nil
	if now := time.Now(); p.held.msg != nil && p.held.at.IsZero() {
		p.held.at = now
		p.path.Responded(now, addressOf(p.held.to))
		e.soon(p, now)
	}
}
