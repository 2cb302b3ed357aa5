package server

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	pion "github.com/pion/turn/v5"
	"golang.org/x/time/rate"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay/turn"
)

// front is a socket or a listener that takes requests. It makes the relayed sockets of its
// allocations.
type front struct {
	s      *Server
	writer writer // of a socket; connections have their own

	mu      sync.RWMutex
	clients map[netip.AddrPort]*allocation
	streams map[netip.AddrPort]*stream // of a listener
	closed  bool
}

// gone is the writer to a client whose connection has ended.
type gone struct{}

func (gone) writeFrames(*burst.Run, netip.AddrPort) {}
func (gone) stream() bool                           { return false }

func newFront(s *Server) *front {
	return &front{s: s, writer: gone{}, clients: map[netip.AddrPort]*allocation{}, streams: map[netip.AddrPort]*stream{}}
}

func (f *front) client(from netip.AddrPort) *allocation {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.clients[from]
}

func (f *front) close() {
	f.mu.Lock()
	f.closed = true
	list := slices.Collect(maps.Values(f.streams))
	f.mu.Unlock()
	for _, st := range list {
		_ = st.Close()
	}
}

// Validate is pion's.
func (f *front) Validate() error { return nil }

var errNoTCP = errors.New("only UDP is relayed")

// AllocateListener is pion's. TCP is not relayed.
func (f *front) AllocateListener(pion.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNoTCP
}

// AllocateConn is pion's. TCP is not relayed.
func (f *front) AllocateConn(pion.AllocateConnConfig) (net.Conn, error) { return nil, errNoTCP }

// nobody is a port that pion asks for to know that it is free and even. It is not opened.
type nobody struct{ net.PacketConn }

// Close does nothing.
func (nobody) Close() error { return nil }

// AllocatePacketConn opens a relayed port for a user.
func (f *front) AllocatePacketConn(cfg pion.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	s := f.s
	public := s.cfg.Public4
	if cfg.Network == "udp6" {
		public = s.cfg.Public6
	}
	if !public.IsValid() {
		return nil, nil, fmt.Errorf("there is no public address for %s", cfg.Network)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cfg.UserID == "" {
		port, err := s.evenPort(public)
		return nobody{}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(public, port)), err
	}
	m, ok := s.cfg.Authorize(cfg.UserID)
	if !ok {
		return nil, nil, errors.New("the user is no member")
	}
	mine := 0
	for _, a := range s.live {
		if a.user == cfg.UserID {
			mine++
		}
	}
	u := s.usageOf(cfg.UserID, m)
	if s.closed || len(s.live) >= s.limits.Allocations || mine >= s.limits.AllocationsPerMember {
		u.refusedBy.Add(1)
		return nil, nil, errors.New("there are as many allocations as may be")
	}
	socket, relayed, err := s.open(cfg.Network, public, cfg.RequestedPort)
	if err != nil {
		u.refusedBy.Add(1)
		return nil, nil, err
	}
	a := &allocation{
		front: f, socket: bursts(socket), close: socket.Close, relayed: relayed, user: cfg.UserID, usage: u,
		bandwidth: rate.NewLimiter(rate.Limit(s.limits.AllocationBandwidth), bucket(s.limits.AllocationBandwidth)),
		strangers: rate.NewLimiter(strangersPerSecond, strangersBurst),
		permitted: map[netip.Addr]struct{}{}, channels: map[uint16]netip.AddrPort{}, peers: map[netip.AddrPort]uint16{},
		admitted: map[netip.AddrPort]time.Time{},
	}
	a.setOwner(m.Key)
	a.client.Store(&netip.AddrPort{})
	a.last.Store(time.Now().UnixNano())
	s.live[relayed] = a
	s.group.Add(1)
	return a, net.UDPAddrFromAddrPort(relayed), nil
}

// evenPort returns an even port without an allocation; the lock is held.
func (s *Server) evenPort(public netip.Addr) (uint16, error) {
	for port := int(s.cfg.FirstPort); port <= int(s.cfg.LastPort); port++ {
		if port%2 == 0 && s.live[netip.AddrPortFrom(public, uint16(port))] == nil {
			return uint16(port), nil
		}
	}
	return 0, errors.New("no even port is free")
}

// open opens a port that is free: that which is asked for, or else the next one. The lock is
// held.
func (s *Server) open(network string, public netip.Addr, wanted int) (Socket, netip.AddrPort, error) {
	last := errors.New("all are in use")
	for range int(s.cfg.LastPort) - int(s.cfg.FirstPort) + 1 {
		port := s.next
		if s.next++; s.next > s.cfg.LastPort || s.next < s.cfg.FirstPort {
			s.next = s.cfg.FirstPort
		}
		relayed := netip.AddrPortFrom(public, port)
		if s.live[relayed] != nil || wanted != 0 && int(port) != wanted {
			continue
		}
		socket, err := s.cfg.Listen(network, port)
		if err == nil {
			return socket, relayed, nil
		}
		last = err
	}
	return nil, netip.AddrPort{}, fmt.Errorf("no port of %d to %d is free: %w", s.cfg.FirstPort, s.cfg.LastPort, last)
}

// permit reports whether a client may name a peer. pion asks for permissions and channels.
func (f *front) permit(client net.Addr, peer net.IP) bool {
	a := f.client(addrPortOf(client))
	addr, ok := netip.AddrFromSlice(peer)
	if a == nil || !ok || !f.s.allowsAddress(addr) {
		return false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	_, known := a.permitted[addr.Unmap()]
	return known || len(a.permitted) < f.s.limits.Peers
}

// take takes what a client has sent, and reports whether it is for pion. Data is relayed here;
// requests are bounded.
func (f *front) take(b []byte, from netip.AddrPort, now time.Time, out *outward) (request bool) {
	if number, data, ok := turn.ParseChannel(b); ok {
		if a := f.client(from); a != nil {
			a.sendChannel(number, data, now, out)
		}
		return false
	}
	if !turn.Is(b) {
		return false
	}
	method, class := turn.Kind(b)
	switch {
	case class == turn.Indication && method == turn.Send:
		var m turn.Message
		if a := f.client(from); a != nil && turn.Parse(&m, b) == nil && m.HasData {
			a.sendTo(m.Data, m.Peer, now, out)
		}
		return false
	case class != turn.Request:
		return false
	case method == turn.ChannelBind && !f.mayBind(b, from):
		return false
	}
	if a := f.client(from); a != nil {
		a.last.Store(now.UnixNano())
	}
	return len(b) >= smallRequest || f.s.answers.admit(now, from.Addr())
}

// mayBind reports whether a channel may be bound, as far as the number of channels goes and the
// port that is bound.
func (f *front) mayBind(b []byte, from netip.AddrPort) bool {
	var m turn.Message
	a := f.client(from)
	if a == nil {
		return true // pion refuses it
	}
	if turn.Parse(&m, b) != nil { // pion may see nothing wrong
		return false
	}
	a.mu.RLock()
	_, known := a.channels[m.Channel]
	count := len(a.channels)
	a.mu.RUnlock()
	return (known || count < f.s.limits.Peers) && f.s.allowsPort(m.Peer)
}

// addrPortOf returns the address of a client or a peer.
func addrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	case *net.TCPAddr:
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
