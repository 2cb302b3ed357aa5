package nodetest

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// DefaultDelay is the delay of a new host's line, so that the round trip between two
// hosts takes 20 ms.
const DefaultDelay = 5 * time.Millisecond

// Line connects a host to its network. What it does, it does in both directions.
type Line struct {
	Delay     time.Duration // one way
	Loss      float64       // the share of datagrams that is lost
	BlocksUDP bool          // nothing passes
}

// Host is a machine on a [Router]: its links and addresses, and its UDP sockets.
// It is what the loop of a node sees as its host. See [Network.Host].
type Host struct {
	network *Network
	changed mesh.Signal
	skips   bool // see SkipNextKeys

	// The router's mutex guards what follows.
	addresses []netip.Addr
	line      Line
	random    *rand.Rand // decides about losses
	sockets   map[uint16]*socket
	listeners map[uint16]*Listener
	port      uint16 // last chosen
	refuse    func(to netip.AddrPort) error
}

// Refuse makes the host's sockets fail to send, with the errors that refuse returns. Nil,
// as in the beginning, refuses nothing.
func (h *Host) Refuse(refuse func(to netip.AddrPort) error) {
	h.network.router.mu.Lock()
	defer h.network.router.mu.Unlock()
	h.refuse = refuse
}

// SetLine changes the host's line. Datagrams that are under way keep their delay.
func (h *Host) SetLine(l Line) {
	h.network.router.mu.Lock()
	defer h.network.router.mu.Unlock()
	h.line = l
}

// SkipNextKeys makes nodes that are started on the host pass over the keys that others
// change to, as Talos does.
func (h *Host) SkipNextKeys() { h.skips = true }

// Move gives the host other addresses, in the network that it is in. Its sockets
// stay open.
func (h *Host) Move(own ...string) {
	h.network.router.mu.Lock()
	h.addresses = addresses(own)
	h.network.router.mu.Unlock()
	h.changed.Notify()
}

// Public returns the address from which the internet sees the host, its IPv4 one if
// it has both; zero if it has none.
func (h *Host) Public() netip.Addr {
	h.network.router.mu.Lock()
	defer h.network.router.mu.Unlock()
	for _, family := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		a, ok := firstOf(h.addresses, family)
		for g := h.network.uplink; ok && g != nil; g = g.outside.uplink {
			if g.kind != Firewall {
				a, ok = firstOf(g.addresses, family)
			}
		}
		if ok {
			return a
		}
	}
	return netip.Addr{}
}

// Links returns one link, with all addresses and the default routes.
func (h *Host) Links() ([]mesh.Link, error) {
	h.network.router.mu.Lock()
	defer h.network.router.mu.Unlock()
	link := mesh.Link{Name: "eth0", Up: true, DefaultRoute: true, MTU: 1500}
	for _, a := range h.addresses {
		link.Addresses = append(link.Addresses, netip.PrefixFrom(a, prefixLength(a)))
	}
	return []mesh.Link{link}, nil
}

func prefixLength(a netip.Addr) int {
	if a.Is4() {
		return 24
	}
	return 64
}

// Underlay returns which default routes the host has.
func (h *Host) Underlay() (mesh.Underlay, error) {
	h.network.router.mu.Lock()
	defer h.network.router.mu.Unlock()
	return mesh.Underlay{
		Default4: slices.ContainsFunc(h.addresses, netip.Addr.Is4),
		Default6: slices.ContainsFunc(h.addresses, netip.Addr.Is6),
	}, nil
}

// Hostname returns no name: nodes are given theirs by the configuration.
func (h *Host) Hostname() string { return "" }

// Changed receives after [Host.Move].
func (h *Host) Changed() <-chan struct{} { return h.changed }

// Run returns when ctx is done: there is nothing to watch.
func (h *Host) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// loses reports whether the line loses the next datagram.
func (h *Host) loses() bool { return h.line.BlocksUDP || h.random.Float64() < h.line.Loss }

func (h *Host) receive(d Datagram) {
	if s := h.sockets[d.Destination.Port()]; s != nil && slices.Contains(h.addresses, d.Destination.Addr()) {
		select {
		case s.received <- d:
		default: // the buffer is full
		}
	}
}

// socketBuffer is how many datagrams wait for the reader of a socket.
const socketBuffer = 256

// socket is a UDP socket of a host, for both families.
type socket struct {
	host     *Host
	port     uint16
	received chan Datagram
	closed   chan struct{}
	close    func()
}

// listen opens a socket; port 0 stands for one that is free.
func (h *Host) listen(port uint16) (*socket, error) {
	h.network.router.mu.Lock()
	defer h.network.router.mu.Unlock()
	for port == 0 {
		if h.port++; h.sockets[h.port] == nil {
			port = h.port
		}
	}
	if h.sockets[port] != nil {
		return nil, unix.EADDRINUSE
	}
	s := &socket{host: h, port: port, received: make(chan Datagram, socketBuffer), closed: make(chan struct{})}
	s.close = sync.OnceFunc(func() {
		h.network.router.mu.Lock()
		defer h.network.router.mu.Unlock()
		delete(h.sockets, port)
		close(s.closed)
	})
	h.sockets[port] = s
	return s, nil
}

// send sends a copy of payload, from an address if the host has it.
func (s *socket) send(from netip.Addr, to netip.AddrPort, payload []byte) error {
	r := s.host.network.router
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
	}
	if s.host.refuse != nil {
		if err := s.host.refuse(to); err != nil {
			return err
		}
	}
	if !slices.Contains(s.host.addresses, from) {
		var ok bool
		if from, ok = firstOf(s.host.addresses, to.Addr()); !ok {
			return unix.ENETUNREACH
		}
	}
	r.send(s.host, Datagram{time.Now(), netip.AddrPortFrom(from, s.port), to, slices.Clone(payload)})
	return nil
}

// receive returns the next datagram, or net.ErrClosed.
func (s *socket) receive() (Datagram, error) {
	select {
	case d := <-s.received:
		return d, nil
	case <-s.closed:
		return Datagram{}, net.ErrClosed
	}
}
