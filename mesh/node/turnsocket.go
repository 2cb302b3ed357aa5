//go:build !edge

package node

import (
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay/turn"
)

// Limits of a turnSocket.
const (
	maxTURNDatagrams = 512  // that wait for the relay
	maxTURNClients   = 4096 // whose way back is remembered
)

// turnSocket is the part of a port beside a discovery server that speaks TURN; STUN's binding
// requests are not among it. It drops what its reader leaves lying. Use newTURNSocket.
type turnSocket struct {
	*burst.Queue
	l    *stunListener
	take func(b, controls []byte, from netip.AddrPort)

	mu   sync.RWMutex              // guards back
	back map[netip.AddrPort][]byte // control messages: clients are answered from the address that they called
}

var _ burst.Socket = (*turnSocket)(nil)

// newTURNSocket takes what speaks TURN from a port, until it is closed.
func newTURNSocket(l *stunListener) *turnSocket {
	s := &turnSocket{Queue: burst.NewQueue(maxTURNDatagrams, turn.MaxMessage), l: l, back: map[netip.AddrPort][]byte{}}
	s.take = s.put
	l.turn.Store(&s.take)
	return s
}

// put queues a datagram of the port.
func (s *turnSocket) put(b, controls []byte, from netip.AddrPort) {
	if !turn.ForServer(b) || len(b) > turn.MaxMessage {
		return
	}
	s.remember(from, controls)
	s.Put(b, from)
}

func (s *turnSocket) remember(from netip.AddrPort, controls []byte) {
	s.mu.RLock()
	known := string(s.back[from]) == string(controls)
	s.mu.RUnlock()
	if known {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.back) >= maxTURNClients {
		clear(s.back)
	}
	s.back[from] = slices.Clone(controls)
}

// WriteBurst implements burst.Socket.
func (s *turnSocket) WriteBurst(b []byte, size int, to netip.AddrPort) error {
	s.mu.RLock()
	controls := s.back[to]
	s.mu.RUnlock()
	return s.l.conn.WriteBurstMsg(b, size, controls, to)
}

// WriteToUDPAddrPort implements server.Socket.
func (s *turnSocket) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if err := s.WriteBurst(b, len(b), to); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close gives the port back. It stays open.
func (s *turnSocket) Close() error {
	s.l.turn.CompareAndSwap(&s.take, nil)
	s.Queue.Close()
	return nil
}

// LocalAddr implements server.Socket.
func (s *turnSocket) LocalAddr() net.Addr { return s.l.conn.LocalAddr() }
