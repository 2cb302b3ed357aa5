package nodetest

import (
	"net"
	"net/netip"
	"sync"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh"
)

var _ device.Bind = (*Bind)(nil)

// Bind is the UDP side of a device, on a socket of a [Host]. Use [NewBind].
type Bind struct {
	host       *Host
	handshakes mesh.Signal

	mu     sync.Mutex
	socket *socket // nil: closed
}

// NewBind returns a closed bind.
func NewBind(h *Host) *Bind { return &Bind{host: h, handshakes: mesh.NewSignal()} }

// Open opens a socket for both families.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.socket != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	s, err := b.host.listen(port)
	if err != nil {
		return nil, 0, err
	}
	b.socket = s
	return []conn.ReceiveFunc{b.receiver(s)}, s.port, nil
}

func (b *Bind) receiver(s *socket) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		d, err := s.receive()
		if err != nil {
			return 0, err
		}
		sizes[0], eps[0] = copy(bufs[0], d.Payload), endpoint{d.Source, d.Destination.Addr()}
		if m := d.Message(); m != Other && m != Transport {
			b.handshakes.Notify()
		}
		return 1, nil
	}
}

// Close closes the socket.
func (b *Bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.socket != nil {
		b.socket.close()
		b.socket = nil
	}
	return nil
}

// Send sends datagrams to an endpoint.
func (b *Bind) Send(bufs [][]byte, to conn.Endpoint) error {
	b.mu.Lock()
	s := b.socket
	b.mu.Unlock()
	if s == nil {
		return net.ErrClosed
	}
	e := to.(endpoint)
	for _, buf := range bufs {
		if err := s.send(e.from, e.to, buf); err != nil {
			return err
		}
	}
	return nil
}

// ParseEndpoint parses an address with a port.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	return endpoint{to: a}, err
}

// Handshakes returns a coalesced signal that handshake messages came in.
func (b *Bind) Handshakes() <-chan struct{} { return b.handshakes }

// Fragmented returns nil: lines have no MTU.
func (b *Bind) Fragmented() []netip.Addr { return nil }

// SetMark does nothing: a host has nothing that would read the mark.
func (b *Bind) SetMark(uint32) error { return nil }

// BatchSize returns 1.
func (b *Bind) BatchSize() int { return 1 }

// endpoint is where a peer is, and at which address of the host it has called.
type endpoint struct {
	to   netip.AddrPort
	from netip.Addr // invalid, or no longer of the host: the host chooses
}

func (e endpoint) ClearSrc()           {}
func (e endpoint) SrcToString() string { return e.from.String() }
func (e endpoint) SrcIP() netip.Addr   { return e.from }
func (e endpoint) DstToString() string { return e.to.String() }
func (e endpoint) DstIP() netip.Addr   { return e.to.Addr() }

func (e endpoint) DstToBytes() []byte {
	b, _ := e.to.MarshalBinary() // never fails
	return b
}
