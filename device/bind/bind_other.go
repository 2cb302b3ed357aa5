//go:build !linux

package bind

import (
	"net/netip"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"
)

// Bind is a conn.Bind. Use New.
type Bind struct {
	conn.Bind
	handshakes signal
}

// New returns a closed Bind. It does not log.
func New(hclog.Logger) *Bind {
	return &Bind{Bind: conn.NewDefaultBind(), handshakes: make(signal, 1)}
}

// Handshakes signals, coalesced, that messages of the WireGuard handshake came
// in. They are not authenticated yet: anyone can send some.
func (b *Bind) Handshakes() <-chan struct{} { return b.handshakes }

// Open listens on port for IPv4 and IPv6; 0 picks a free one.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, port, err := b.Bind.Open(port)
	for i, fn := range fns {
		fns[i] = func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
			n, err := fn(bufs, sizes, eps)
			b.handshakes.look(bufs, sizes[:n])
			return n, err
		}
	}
	return fns, port, err
}

// Fragmented returns nothing: which peers' packets are fragmented is not known.
func (b *Bind) Fragmented() []netip.Addr { return nil }

// Control returns a hook that leaves sockets unmarked.
func Control(uint32) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return nil }
}
