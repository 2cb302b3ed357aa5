package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
)

// stunPort is what becomes of STUN messages that come in at WireGuard's port.
type stunPort struct {
	take    atomic.Pointer[func(msg []byte, from netip.AddrPort) bool]
	doubt   atomic.Pointer[func()]
	answers atomic.Bool // binding requests are answered

	mu     sync.Mutex // guards server
	server *stun.Server
}

// TakeSTUN has take called with each STUN message that comes in. Those for which it returns
// true are not passed up. It has doubt called when a path was lost or found: this node may be
// seen at another address than before. That must not block.
func (e *Engine) TakeSTUN(take func(msg []byte, from netip.AddrPort) bool, doubt func()) {
	e.stun.take.Store(&take)
	e.stun.doubt.Store(&doubt)
}

// doubted says that mapped addresses are in doubt.
func (s *stunPort) doubted() {
	if doubt := s.doubt.Load(); doubt != nil {
		(*doubt)()
	}
}

// AnswerSTUN says whether binding requests that come in are answered.
func (e *Engine) AnswerSTUN(on bool) {
	e.stun.mu.Lock()
	defer e.stun.mu.Unlock()
	if on && e.stun.server == nil {
		e.stun.server = stun.NewServer(time.Now())
	}
	e.stun.answers.Store(on)
}

// SendSTUN sends a STUN message from WireGuard's port.
func (e *Engine) SendSTUN(msg []byte, to netip.AddrPort) error {
	ep, err := e.bind.ParseEndpoint(to.String())
	if err != nil {
		return err
	}
	return e.bind.Send([][]byte{msg}, ep)
}

// received takes a STUN message, and reports whether it is not to be passed up.
func (s *stunPort) received(sockets conn.Bind, b []byte, ep conn.Endpoint) (taken bool) {
	take, answers := s.take.Load(), s.answers.Load() && stun.IsRequest(b)
	if take == nil && !answers {
		return false
	}
	from := addressOf(ep)
	if _, relay := mesh.Direct(from); relay != "" { // peers have no business with it
		return true
	}
	if take != nil && (*take)(b, from) {
		return true
	}
	if !answers {
		return false
	}
	s.mu.Lock()
	answer := s.server.Answer(time.Now(), b, from)
	s.mu.Unlock()
	if answer != nil {
		_ = sockets.Send([][]byte{answer}, ep) // lost, as a datagram may be
	}
	return true
}
