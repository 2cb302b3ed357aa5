package relay

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// Limits of a bind.
const (
	maxInbound   = 1024 // packets that came by relays, and wait
	maxEndpoints = 1024 // that are remembered
)

// Sockets is the UDP side of a device, beside relays.
type Sockets interface {
	conn.Bind
	// Handshakes returns a coalesced signal that handshake messages came in.
	Handshakes() <-chan struct{}
	// Fragmented returns the hosts to which datagrams are larger than the route's MTU.
	Fragmented() []netip.Addr
}

// Bind joins sockets with relays: packets to an [Endpoint] leave by its relay, and those that come
// by relays come in beside those of the sockets. Use NewBind.
type Bind struct {
	Sockets
	handshakes mesh.Signal
	clients    atomic.Pointer[map[string]*Client] // by relay; replaced, never written to
	shared     atomic.Pointer[Shared]             // nil: nobody shares the sockets
	queue      chan *inbound
	pool       sync.Pool // of *inbound
	dropped    atomic.Uint64

	mu        sync.Mutex // guards what follows, and replacing clients
	endpoints map[netip.AddrPort]*Endpoint
	closed    chan struct{}  // nil: it is closed
	forward   sync.WaitGroup // the goroutine of an open one
}

// inbound is a packet that came by a relay.
type inbound struct {
	from *Endpoint
	n    int
	b    [turn.MaxMessage]byte
}

// NewBind returns a bind around closed sockets.
func NewBind(sockets Sockets) *Bind {
	b := &Bind{
		Sockets: sockets, handshakes: mesh.NewSignal(), queue: make(chan *inbound, maxInbound),
		endpoints: map[netip.AddrPort]*Endpoint{},
	}
	b.pool.New = func() any { return new(inbound) }
	b.clients.Store(&map[string]*Client{})
	return b
}

// wholeSender is sockets that can send a datagram that nobody may fragment.
type wholeSender interface {
	SendWhole(buf []byte, ep conn.Endpoint) error
}

// wholeBind is a Bind that can, since its sockets can.
type wholeBind struct {
	*Bind
	whole wholeSender
}

// Whole returns the bind, with SendWhole if the sockets have it.
func (b *Bind) Whole() conn.Bind {
	if whole, ok := b.Sockets.(wholeSender); ok {
		return wholeBind{b, whole}
	}
	return b
}

// SendWhole sends a datagram that nobody may fragment. By a relay it is a plain one: on the way to
// the relay it may be fragmented, and of the way behind that nothing is known.
func (b wholeBind) SendWhole(buf []byte, ep conn.Endpoint) error {
	if e, ok := ep.(*Endpoint); ok {
		return b.relay([][]byte{buf}, e)
	}
	return b.whole.SendWhole(buf, ep)
}

// Open opens the sockets. One function more receives what comes by relays.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := b.Sockets.Open(port)
	if err != nil {
		return nil, 0, err
	}
	for i, fn := range fns {
		fns[i] = b.receiver(fn)
	}
	closed := make(chan struct{})
	b.mu.Lock()
	b.closed = closed
	b.mu.Unlock()
	b.forward.Go(func() { b.forwardHandshakes(closed) })
	return append(fns, b.relayed(closed)), actual, nil
}

// Close closes the sockets, and ends the receive functions. What came by relays meanwhile waits.
func (b *Bind) Close() error {
	b.mu.Lock()
	if b.closed != nil {
		close(b.closed)
		b.closed = nil
	}
	b.mu.Unlock()
	b.forward.Wait()
	return b.Sockets.Close()
}

func (b *Bind) forwardHandshakes(closed <-chan struct{}) {
	for {
		select {
		case <-closed:
			return
		case <-b.Sockets.Handshakes():
			b.handshakes.Notify()
		}
	}
}

// Handshakes returns a coalesced signal that handshake messages came in, by whichever way.
func (b *Bind) Handshakes() <-chan struct{} { return b.handshakes }

// receiver returns a function that receives from a socket, except what its sharer takes.
func (b *Bind) receiver(fn conn.ReceiveFunc) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := fn(bufs, sizes, eps)
		if s := b.shared.Load(); s != nil {
			s.take(bufs, sizes[:n], eps)
		}
		return n, err
	}
}

// relayed returns a function that receives what came by relays.
func (b *Bind) relayed(closed <-chan struct{}) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (n int, err error) {
		var p *inbound
		select {
		case <-closed:
			return 0, net.ErrClosed
		case p = <-b.queue:
		}
		for {
			sizes[n], eps[n] = copy(bufs[n], p.b[:p.n]), p.from
			n++
			b.pool.Put(p)
			if n == len(bufs) {
				return n, nil
			}
			select {
			case p = <-b.queue:
			default:
				return n, nil
			}
		}
	}
}

// Send sends datagrams to an endpoint, by its relay if it has one.
func (b *Bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	if e, ok := ep.(*Endpoint); ok {
		return b.relay(bufs, e)
	}
	return b.Sockets.Send(bufs, ep)
}

// relay sends packets by a relay, and does not wait. What a full connection does not take is
// lost, as datagrams may be. If there are two addresses on the relay, packets leave from that at
// which the peer last shook hands, since its NAT may let in nothing else, and initiations from
// both.
func (b *Bind) relay(bufs [][]byte, e *Endpoint) error {
	newest := (*b.clients.Load())[e.relay]
	c := e.by.Load()
	if c == nil || c.ready.Load() == nil {
		c = newest
	}
	if c == nil {
		return e.without
	}
	switch c.write(bufs, e.peer) {
	case noAddress, noPermission:
		return e.without
	case sent, lost:
	}
	for _, buf := range bufs {
		if isHandshake(buf) && buf[0] == 1 {
			c.initiated(time.Now())
			if newest != nil && newest != c { // so the peer may leave the former address
				newest.write([][]byte{buf}, e.peer)
			}
		}
	}
	return nil
}

// ParseEndpoint returns the endpoint for ip:port, or for a text of mesh.Via.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	at, relayed, err := parseEndpoint(s)
	switch {
	case err != nil:
		return nil, err
	case relayed:
		return b.endpoint(at), nil
	}
	return b.Sockets.ParseEndpoint(s)
}

// endpoint returns the endpoint of an address of mesh.Via.
func (b *Bind) endpoint(at netip.AddrPort) *Endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.endpoints[at]
	if e == nil {
		if len(b.endpoints) >= maxEndpoints {
			clear(b.endpoints)
		}
		e = newEndpoint(at)
		b.endpoints[at] = e
	}
	return e
}

// deliver returns what takes packets of a relay. They are dropped while too many wait. The client
// by which they come is set when the first one does.
func (b *Bind) deliver(relay string, by **Client) func(data []byte, from netip.AddrPort) {
	var last *Endpoint
	return func(data []byte, from netip.AddrPort) {
		if last == nil || last.peer != from {
			last = b.endpoint(mesh.Via(from, relay))
		}
		p := b.pool.Get().(*inbound)
		p.from, p.n = last, copy(p.b[:], data)
		handshake := isHandshake(data)
		if handshake {
			last.by.Store(*by)
		}
		select {
		case b.queue <- p:
		default:
			b.pool.Put(p)
			b.dropped.Add(1)
			return
		}
		if handshake {
			b.handshakes.Notify()
		}
	}
}

// Dropped returns how many packets came by relays that were dropped, since too many waited.
func (b *Bind) Dropped() uint64 { return b.dropped.Load() }

// use has a client send by a relay from now on.
func (b *Bind) use(relay string, c *Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	clients := maps.Clone(*b.clients.Load())
	clients[relay] = c
	b.clients.Store(&clients)
}

// drop undoes use, unless another client sends by the relay meanwhile.
func (b *Bind) drop(relay string, c *Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if clients := maps.Clone(*b.clients.Load()); clients[relay] == c {
		delete(clients, relay)
		b.clients.Store(&clients)
	}
}

// CheckRelay asks a relay at once whether it is there; see Client.Check.
func (b *Bind) CheckRelay(name string) {
	if c := (*b.clients.Load())[name]; c != nil {
		c.Check()
	}
}

// isHandshake reports whether a message is an initiation, a response or a cookie reply of
// WireGuard, by its size and its first word.
func isHandshake(msg []byte) bool {
	switch len(msg) {
	case 148:
		return binary.LittleEndian.Uint32(msg) == 1
	case 92:
		return binary.LittleEndian.Uint32(msg) == 2
	case 64:
		return binary.LittleEndian.Uint32(msg) == 3
	}
	return false
}
