//go:build !linux

package bind

import (
	"net/netip"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/mesh"
)

// Bind is a conn.Bind. Use New.
type Bind struct {
	conn.Bind
	handshakes mesh.Signal
}

// New returns a closed Bind. It does not log.
func New(hclog.Logger) *Bind {
	return &Bind{Bind: conn.NewDefaultBind(), handshakes: mesh.NewSignal()}
}

// Handshakes returns a coalesced signal that WireGuard handshake messages came in.
// They are not authenticated yet: anyone can send some.
func (b *Bind) Handshakes() <-chan struct{} { return b.handshakes }

// Open listens on port for IPv4 and IPv6; 0 picks a free one.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, port, err := b.Bind.Open(port)
	for i, fn := range fns {
		fns[i] = func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
			n, err := fn(bufs, sizes, eps)
			notifyHandshakes(b.handshakes, bufs, sizes[:n])
			return n, err
		}
	}
	return fns, port, err
}

// Fragmented returns nil: it is not known which packets are fragmented.
func (b *Bind) Fragmented() []netip.Addr { return nil }

// Control returns a function that does not mark sockets.
func Control(uint32) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return nil }
}
