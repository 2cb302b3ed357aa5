package bind

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// Bind is a conn.Bind. Use New.
type Bind struct {
	std        conn.Bind
	log        hclog.Logger
	handshakes chan struct{}
	mark       atomic.Uint32
	// generation grows when routes or addresses of the host change. An endpoint
	// whose source was checked in an older one is checked again.
	generation atomic.Uint32
	markDenied sync.Once

	mu     sync.Mutex // guards routes
	routes *routes    // nil while closed
}

// New returns a closed Bind. A nil logger discards.
func New(log hclog.Logger) *Bind {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Bind{std: conn.NewDefaultBind(), log: log, handshakes: make(chan struct{}, 1)}
}

// Handshakes signals, coalesced, that messages of the WireGuard handshake came
// in. They are not authenticated yet: anyone can send some.
func (b *Bind) Handshakes() <-chan struct{} { return b.handshakes }

// Open listens on port for IPv4 and IPv6; 0 picks a free one.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := b.std.Open(port)
	if err != nil {
		return nil, 0, err
	}
	for i, fn := range fns {
		fns[i] = b.receive(fn)
	}
	r, err := watchRoutes(&b.generation)
	if err != nil {
		b.log.Debug("route changes can't be watched", "error", err)
	}
	b.mu.Lock()
	b.routes = r
	b.mu.Unlock()
	return fns, actual, nil
}

// Close stops listening.
func (b *Bind) Close() error {
	b.mu.Lock()
	r := b.routes
	b.routes = nil
	b.mu.Unlock()
	r.close()
	return b.std.Close()
}

// SetMark marks packets sent from now on. Without the right to do so packets
// stay unmarked, which is logged once.
func (b *Bind) SetMark(mark uint32) error {
	err := b.std.SetMark(mark)
	if errors.Is(err, unix.EPERM) {
		b.markDenied.Do(func() {
			b.log.Info("encrypted packets carry no firewall mark: it needs CAP_NET_ADMIN", "mark", mark)
		})
		return nil
	}
	if err == nil {
		b.mark.Store(mark)
	}
	return err
}

// Send sends bufs to ep, which this bind made.
func (b *Bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	e, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	target := e.target(b)
	err := b.std.Send(bufs, target)
	if err != nil && target == e.StdNetEndpoint && sourceRefused(err) && e.SrcIP().IsValid() {
		e.ClearSrc()
		return b.std.Send(bufs, e.target(b))
	}
	return err
}

// ParseEndpoint reads ip:port.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	ep, err := b.std.ParseEndpoint(s)
	if err != nil {
		return nil, err
	}
	return b.endpoint(ep)
}

// BatchSize is how many datagrams one call moves at most.
func (b *Bind) BatchSize() int { return b.std.BatchSize() }

// receive wraps one of upstream's receive functions: our endpoints, and the
// handshake signal.
func (b *Bind) receive(fn conn.ReceiveFunc) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := fn(bufs, sizes, eps)
		handshake := false
		for i := range n {
			if sizes[i] == 0 {
				continue
			}
			ep, err := b.endpoint(eps[i])
			if err != nil {
				return 0, err
			}
			eps[i] = ep
			handshake = handshake || isHandshake(bufs[i][:sizes[i]])
		}
		if handshake {
			select {
			case b.handshakes <- struct{}{}:
			default:
			}
		}
		return n, err
	}
}

// isHandshake tells initiation (148 bytes), response (92) and cookie reply (64)
// from transport data; the first word is the message type, little endian.
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

// sourceRefused reports whether a send failed in a way that a source address
// or interface which is gone explains.
func sourceRefused(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENETUNREACH)
}

// Control returns a net.ListenConfig or net.Dialer hook that marks sockets, so
// that control traffic never enters the tunnel. Without the right to mark, the
// socket stays unmarked.
func Control(mark uint32) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var markErr error
		err := c.Control(func(fd uintptr) {
			markErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
		})
		if err == nil && !errors.Is(markErr, unix.EPERM) {
			err = markErr
		}
		return err
	}
}
