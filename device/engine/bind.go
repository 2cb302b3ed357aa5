package engine

import (
	"errors"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device/stun"
)

// errLimit is why an initiation was not sent. Upstream logs it at debug level.
var errLimit = errors.New("not sent: it is not the time for another handshake with this peer")

// refusedPause is the least time between two refusals of packets that are looked at.
const refusedPause = 100 * time.Millisecond

// Bind is the side of the engine at the device.
type Bind struct {
	conn.Bind
	engine *Engine
}

// Open opens the sockets.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := b.Bind.Open(port)
	for i, fn := range fns {
		fns[i] = b.receive(fn)
	}
	return fns, actual, err
}

func (b *Bind) receive(fn conn.ReceiveFunc) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := fn(bufs, sizes, eps)
		b.engine.received(bufs, sizes[:n], eps)
		return n, err
	}
}

// Send sends packets, and handshake messages. Upstream sends those alone.
func (b *Bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	switch messageType(bufs[0]) {
	case wireguard.MessageTransportType:
		p := b.engine.indexes.theirs(receiverOf(bufs[0]))
		if p == nil {
			return b.Bind.Send(bufs, ep)
		}
		data, err := b.sendData(p, bufs, ep)
		b.engine.sent(p, ep, data, err)
		return err
	case wireguard.MessageInitiationType:
		return b.engine.initiation(bufs[0], ep)
	case wireguard.MessageResponseType:
		if b.engine.response(bufs[0], ep) {
			return nil
		}
	}
	return b.Bind.Send(bufs, ep)
}

// isData reports whether packets call for an answer: there are others than keepalives and
// echoes of the engine.
func isData(bufs [][]byte) bool {
	return len(bufs) > 1 || len(bufs[0]) != wireguard.MessageKeepaliveSize && len(bufs[0]) != echoMessage
}

// sent notes that packets have left, or were refused.
func (e *Engine) sent(p *peer, ep conn.Endpoint, data bool, err error) {
	if last := p.endpoint.Load(); last == nil || *last != ep {
		e.roamed(p, ep)
	}
	if err != nil {
		e.refused(p, ep, err)
		return
	}
	if data && p.unanswered.Load() == 0 && p.unanswered.CompareAndSwap(0, e.clock()) && p.watched.CompareAndSwap(false, true) {
		e.poke(p)
	}
}

// received notes from which peers packets came, and takes out (size 0) STUN messages and
// cookie replies that the device should not see.
func (e *Engine) received(bufs [][]byte, sizes []int, eps []conn.Endpoint) {
	var now int64
	var last uint32 // index of the packet before
	for i, size := range sizes {
		b := bufs[i][:size]
		switch messageType(b) {
		case wireguard.MessageTransportType:
			index := receiverOf(b)
			if index == last && now != 0 {
				continue
			}
			last = index
			if now == 0 {
				now = e.clock()
			}
			if p := e.indexes.ours(index); p != nil {
				p.heard.Store(now)
				if p.unanswered.Load() != 0 {
					p.unanswered.Store(0)
				}
			}
		case wireguard.MessageResponseType:
			e.answered(b, eps[i])
		case wireguard.MessageCookieReplyType:
			if !e.firstCookie(b, eps[i]) {
				sizes[i] = 0
			}
		case 0:
			if stun.Is(b) && e.stun.received(e.bind, b, eps[i]) {
				sizes[i] = 0
			}
		}
	}
}
