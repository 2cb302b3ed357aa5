package inflight

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// holdTime is how long an answer to a handshake is held at most.
	holdTime = time.Second
	// maxHeld is how many are held; the others are sent at once.
	maxHeld = 64
	// patience is how long packets wait for sessions that the device renews on purpose:
	// longer than an answer is held.
	patience = 3 * holdTime / 2
)

// holder holds answers to handshakes while the device moves networks to the peer that
// started one: the other side sends nothing in the new session before it has the answer.
type holder struct {
	on     atomic.Bool
	signal mesh.Signal // an answer is held

	mu   sync.Mutex // guards what follows
	held []heldAnswer
}

type heldAnswer struct {
	message []byte
	to      conn.Endpoint
}

// HoldAnswers says whether answers to handshakes are held from now on, until
// [Bind.SendAnswers] or for a second at most.
func (b *Bind) HoldAnswers(on bool) { b.answers.on.Store(on) }

// Held returns a coalesced signal that an answer is held.
func (b *Bind) Held() <-chan struct{} { return b.answers.signal }

// SendAnswers sends the answers that are held.
func (b *Bind) SendAnswers() {
	b.answers.mu.Lock()
	held := b.answers.held
	b.answers.held = nil
	b.answers.mu.Unlock()
	for _, a := range held {
		_ = b.Bind.Send([][]byte{a.message}, a.to) // as after any loss, the handshake is repeated
	}
}

// Patient says that sessions are renewed on purpose: for a while no flow counts as
// stalled, and a queue is no sign of congestion.
func (b *Bind) Patient() { b.gate.out.bePatient(time.Now().Add(patience)) }

// hold reports whether it holds bufs. Upstream sends an answer alone.
func (b *Bind) hold(bufs [][]byte, to conn.Endpoint) bool {
	h := &b.answers
	if len(bufs) != 1 || len(bufs[0]) != wireguard.MessageResponseSize || bufs[0][0] != wireguard.MessageResponseType || !h.on.Load() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.held) == maxHeld {
		return false
	}
	if len(h.held) == 0 {
		time.AfterFunc(holdTime, b.SendAnswers)
	}
	h.held = append(h.held, heldAnswer{bufs[0], to})
	h.signal.Notify()
	return true
}
