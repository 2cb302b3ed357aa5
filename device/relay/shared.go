package relay

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay/turn"
)

// Limits of shared sockets.
const (
	maxRequests = 512  // datagrams that wait for the server
	maxClients  = 4096 // whose way back is remembered
)

// Shared is the part of a device's UDP sockets that speaks TURN: requests of clients and their
// channel data, for a server on WireGuard's port. STUN's binding requests are not among them. It
// drops what its reader leaves lying. Use Bind.Shared.
type Shared struct {
	*burst.Queue
	bind    *Bind
	dropped atomic.Uint64
	lists   sync.Pool // of *[][]byte

	mu   sync.RWMutex // guards back
	back map[netip.AddrPort]conn.Endpoint
}

var _ burst.Socket = (*Shared)(nil)

// Shared returns the TURN part of the sockets. From then on the device does not see what belongs to
// it, until it is closed. What was shared before is closed.
func (b *Bind) Shared() *Shared {
	s := &Shared{Queue: burst.NewQueue(maxRequests, turn.MaxMessage), bind: b, back: map[netip.AddrPort]conn.Endpoint{}}
	s.lists.New = func() any { return new([][]byte) }
	if old := b.shared.Swap(s); old != nil {
		old.Queue.Close()
	}
	return s
}

// take takes out (size 0) what speaks TURN.
func (s *Shared) take(bufs [][]byte, sizes []int, eps []conn.Endpoint) {
	for i, size := range sizes {
		if b := bufs[i][:size]; turn.ForServer(b) {
			s.put(b, eps[i])
			sizes[i] = 0
		}
	}
}

func (s *Shared) put(b []byte, ep conn.Endpoint) {
	from := addressOf(ep)
	if !from.IsValid() {
		s.dropped.Add(1)
		return
	}
	s.remember(from, ep)
	if !s.Put(b, from) {
		s.dropped.Add(1)
	}
}

// addressOf returns the address of a socket's endpoint.
func addressOf(ep conn.Endpoint) netip.AddrPort {
	var at netip.AddrPort
	if e, ok := ep.(interface{ AddrPort() netip.AddrPort }); ok {
		at = e.AddrPort()
	} else {
		at, _ = netip.ParseAddrPort(ep.DstToString())
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// remember notes by which endpoint a client is answered: from the address that it called.
func (s *Shared) remember(from netip.AddrPort, ep conn.Endpoint) {
	s.mu.RLock()
	known := s.back[from] == ep
	s.mu.RUnlock()
	if known {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.back) >= maxClients {
		clear(s.back)
	}
	s.back[from] = ep
}

// WriteToUDPAddrPort sends a datagram from the device's port.
func (s *Shared) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if err := s.WriteBurst(b, len(b), to); err != nil {
		return 0, err
	}
	return len(b), nil
}

// WriteBurst sends a burst from the device's port.
func (s *Shared) WriteBurst(b []byte, size int, to netip.AddrPort) error {
	if s.Closed() {
		return net.ErrClosed
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	s.mu.RLock()
	ep := s.back[to]
	s.mu.RUnlock()
	if ep == nil {
		var err error
		if ep, err = s.bind.Sockets.ParseEndpoint(to.String()); err != nil {
			return err
		}
	}
	list := s.lists.Get().(*[][]byte)
	defer s.lists.Put(list)
	*list = (*list)[:0]
	for len(b) > 0 {
		var first []byte
		first, b = burst.Cut(b, size)
		*list = append(*list, first)
	}
	return s.bind.Sockets.Send(*list, ep)
}

// Dropped returns how many datagrams were dropped, since too many waited or they were too large.
func (s *Shared) Dropped() uint64 { return s.dropped.Load() }

// Close gives the sockets back to the device. They stay open.
func (s *Shared) Close() error {
	s.bind.shared.CompareAndSwap(s, nil)
	s.Queue.Close()
	return nil
}

// LocalAddr returns no address: the device's sockets have all addresses of the host, and its port.
func (s *Shared) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv6unspecified} }
