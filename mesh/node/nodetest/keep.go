package nodetest

import (
	"sync"

	"github.com/hashicorp/go-hclog"
	wireguard "golang.zx2c4.com/wireguard/device"
)

// kept holds every peer of upstream's devices, so that none is collected.
//
// When a peer is collected, upstream drains its queues in a finalizer. Finalizers run
// outside of bubbles. There, the use of a channel that was made in a bubble ends the
// process.
var kept sync.Map

// keeper is a log that keeps peers: upstream logs that a peer starts, with the peer
// itself as an argument of the message.
type keeper struct{ hclog.Logger }

// IsTrace returns true, or there were no such message.
func (keeper) IsTrace() bool { return true }

// Trace keeps the peers among the arguments, and logs nothing.
func (keeper) Trace(_ string, args ...any) {
	for _, arg := range args {
		format, _ := arg.(hclog.Format)
		for _, a := range format {
			if peer, ok := a.(*wireguard.Peer); ok {
				kept.Store(peer, nil)
			}
		}
	}
}

func (k keeper) Named(name string) hclog.Logger { return keeper{k.Logger.Named(name)} }
func (k keeper) With(args ...any) hclog.Logger  { return keeper{k.Logger.With(args...)} }
