package engine

import (
	"errors"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device/clamp"
	"github.com/wirespan/wirespan/device/inflight"
	"github.com/wirespan/wirespan/device/path"
)

const (
	// largeSize is the size of the datagrams that fit everywhere.
	largeSize = path.MinMTU + wireguard.MessageTransportSize
	// lateTime is how long probes may be under way within this host.
	lateTime = 5 * time.Second
	// probePause is how long a peer waits when the node's probes are used up.
	probePause = 100 * time.Millisecond
)

// wholeSender is a bind that can send a datagram that nobody may fragment.
type wholeSender interface {
	SendWhole(buf []byte, ep conn.Endpoint) error
}

// probe is a probe that the device is to send.
type probe struct {
	peer *peer
	to   netip.Addr
	path netip.AddrPort
	size int
}

// stepMTU does what is due with the MTU of a peer's path, and returns when to look again.
// The caller holds mu.
func (e *Engine) stepMTU(p *peer, now time.Time) time.Time {
	if e.whole == nil || !p.address.IsValid() || !p.path.Settled() {
		return time.Time{}
	}
	if !e.probes.Ready(now) {
		return now.Add(probePause)
	}
	s := path.Seen{MTU: e.device.MTU(), Large: p.large.Load(), Unanswered: e.time(p.unanswered.Load())}
	s.Path, s.RTT = p.path.InUse()
	before := p.mtu.Fits()
	sizes, wake := p.mtu.Step(now, s)
	if len(sizes) > 0 {
		e.probes.Take(now, len(sizes))
		p.large.Store(false)
		p.expectMarks(now)
	}
	for _, size := range sizes {
		e.asked = append(e.asked, probe{p, p.address, s.Path, size})
	}
	if late := p.markedAt.Add(lateTime); now.Before(late) {
		wake = earlier(wake, late)
	} else {
		p.marked.Store(false)
	}
	e.relimit = e.relimit || p.mtu.Limit() != p.limited
	if p.mtu.Fits() != before {
		e.changed()
	}
	return wake
}

// expectMarks has marks looked for among the data to a peer for a while. The caller holds
// Engine.mu.
func (p *peer) expectMarks(now time.Time) {
	p.marked.Store(true)
	p.markedAt = now
}

// Probed says that a probe has come from the peer with an address. The answer will be
// marked ([inflight.Answer]). It is neither large data nor calls for an answer: else two
// idle nodes would probe each other in turns for ever.
func (e *Engine) Probed(from netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.at[from]; p != nil && e.whole != nil {
		p.expectMarks(time.Now())
	}
}

// earlier returns the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sendProbes has the device send probes.
func (e *Engine) sendProbes(device Device, probes []probe) {
	for _, a := range probes {
		device.Probe(a.to, a.size, func(time.Duration) { e.fits(a) })
	}
}

// fits notes that a probe came back.
func (e *Engine) fits(a probe) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	before := a.peer.mtu.Fits()
	a.peer.mtu.Answered(now, a.path, a.size)
	if a.peer.mtu.Fits() != before {
		e.changed()
	}
	e.soon(a.peer, now)
}

// limit tells the device how large the packets to each peer should be. The caller holds mu.
func (e *Engine) limit() {
	e.relimit = false
	limited := false
	for _, p := range e.peers {
		p.limited = 0
		if p.race {
			p.limited = p.mtu.Limit()
		}
		limited = limited || p.limited != 0
	}
	if e.device == nil {
		return
	}
	if !limited {
		e.device.Limit(nil)
		return
	}
	t := &clamp.Table{}
	for _, p := range e.peers {
		for _, n := range p.networks {
			t.Add(n, p.limited)
		}
	}
	e.device.Limit(t)
}

// noteLarge has the engine look at a peer to which large data goes out.
func (e *Engine) noteLarge(p *peer, bufs [][]byte) {
	if p.large.Load() {
		return
	}
	for _, b := range bufs {
		if len(b) > largeSize {
			if p.large.CompareAndSwap(false, true) {
				e.poke(p)
			}
			return
		}
	}
}

// sendData sends packets, and reports whether data of others was among them, beside probes
// and answers to them. It sends probes so that nobody may fragment them.
func (b *Bind) sendData(p *peer, bufs [][]byte, ep conn.Endpoint) (data bool, err error) {
	if !p.marked.Load() {
		b.engine.noteLarge(p, bufs)
		return isData(bufs), b.Bind.Send(bufs, ep)
	}
	start := 0
	send := func(end int) {
		if start < end {
			data = data || isData(bufs[start:end])
			b.engine.noteLarge(p, bufs[start:end])
			err = errors.Join(err, b.Bind.Send(bufs[start:end], ep))
		}
		start = end + 1
	}
	for i, buf := range bufs {
		switch inflight.TakeMark(buf) {
		case inflight.Probe:
			send(i)
			_ = b.engine.whole.SendWhole(buf, ep) // without an answer it counts as too large
		case inflight.Answer:
			send(i)
			err = errors.Join(err, b.Bind.Send(bufs[i:i+1], ep))
		}
	}
	send(len(bufs))
	return data, err
}
