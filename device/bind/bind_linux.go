package bind

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/mesh"
)

// portTries is how many free ports of IPv4 are tried until one is free for IPv6
// as well.
const portTries = 100

// Bind is a conn.Bind. Use New.
type Bind struct {
	log        hclog.Logger
	handshakes mesh.Signal
	kernel     kernel
	mark       atomic.Uint32
	markDenied sync.Once
	// generation grows when routes or addresses of the host change. The source of
	// an endpoint that was looked up in an older generation is looked up again.
	generation atomic.Uint32
	fragmented fragmentedHosts
	sendings   sync.Pool

	v4, v6 atomic.Pointer[socket] // nil while closed, and if the host lacks the family

	mu     sync.Mutex // guards opening, replacing, marking and closing sockets, and what follows
	routes *routes    // nil while closed
	closed chan struct{}
}

var _ conn.Bind = (*Bind)(nil)

// New returns a closed Bind. A nil logger discards.
func New(log hclog.Logger) *Bind {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Bind{log: log, handshakes: mesh.NewSignal(), kernel: newKernel()}
}

// Handshakes returns a coalesced signal that WireGuard handshake messages came in.
// They are not authenticated yet: anyone can send some.
func (b *Bind) Handshakes() <-chan struct{} { return b.handshakes }

// Open listens on port for IPv4 and IPv6; 0 picks a free one.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.v4.Load() != nil || b.v6.Load() != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	v4, v6, err := b.listenBoth(port)
	if err != nil {
		return nil, 0, err
	}
	b.closed = make(chan struct{})
	var fns []conn.ReceiveFunc
	for _, s := range []*socket{v4, v6} {
		if s != nil {
			fns, port = append(fns, b.receiver(s, b.closed).receive), s.port
		}
	}
	if len(fns) == 0 {
		return nil, 0, unix.EAFNOSUPPORT
	}
	b.v4.Store(v4)
	b.v6.Store(v6)
	if b.routes, err = watchRoutes(&b.generation); err != nil {
		b.log.Debug("route changes can't be watched", "error", err)
	}
	return fns, port, nil
}

// listenBoth opens a socket per address family, on the same port. The socket of a
// family that the host lacks is nil.
func (b *Bind) listenBoth(port uint16) (v4, v6 *socket, err error) {
	for range portTries {
		v4, err = b.kernel.listen("udp4", port)
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
			return nil, nil, err
		}
		same := port
		if v4 != nil {
			same = v4.port
		}
		v6, err = b.kernel.listen("udp6", same)
		if err == nil || errors.Is(err, unix.EAFNOSUPPORT) {
			return v4, v6, nil
		}
		_ = v4.close() // err says why the pair was not opened
		if port != 0 || !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return nil, nil, err
}

func (s *socket) close() error {
	if s == nil {
		return nil
	}
	if err := s.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Close stops listening.
func (b *Bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.routes.close()
	b.routes = nil
	if b.v4.Load() != nil || b.v6.Load() != nil {
		close(b.closed)
	}
	return errors.Join(b.v4.Swap(nil).close(), b.v6.Swap(nil).close())
}

// SetMark sets the firewall mark of packets sent from now on. Without the right to do so, or
// where there are no marks, packets are not marked, and that is logged once.
func (b *Bind) SetMark(mark uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range []*socket{b.v4.Load(), b.v6.Load()} {
		if s == nil {
			continue
		}
		err := b.kernel.mark(s, mark)
		if noMarks(err) {
			b.markDenied.Do(func() {
				b.log.Info("encrypted packets carry no firewall mark: it needs CAP_NET_ADMIN and a kernel that has marks", "mark", mark, "error", err)
			})
			return nil
		}
		if err != nil && !errors.Is(err, net.ErrClosed) { // then it is being replaced
			return err
		}
	}
	b.mark.Store(mark)
	return nil
}

// BatchSize returns how many datagrams one call moves at most.
func (b *Bind) BatchSize() int { return conn.IdealBatchSize }

// Fragmented returns, sorted, the hosts to which full-size datagrams are larger
// than the route's MTU, so that the kernel fragments them.
func (b *Bind) Fragmented() []netip.Addr { return b.fragmented.list(b.generation.Load()) }

// noMarks reports whether a process may not set a mark, or a sandbox or an emulator (qemu's
// user mode) has none.
func noMarks(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOPROTOOPT) }

// Control returns a Control function for a net.ListenConfig or net.Dialer. It marks
// the socket, so that control traffic never enters the tunnel. Where that can't be done,
// it does nothing.
func Control(mark uint32) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		err := setMark(c, mark)
		if noMarks(err) {
			return nil
		}
		return err
	}
}
