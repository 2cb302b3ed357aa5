package forward

import (
	"context"
	"net"
	"time"

	"github.com/wirespan/wirespan/device/splice"
)

// streams is a listener of TCP or of a unix socket.
type streams struct {
	net.Listener
	forward  *forward
	endpoint *endpoint
}

// reset closes a listener on the mesh, which is then opened anew.
func (s *streams) reset() {
	if s.forward.spec.Kind == Mesh {
		_ = s.Close()
	}
}

func (s *streams) serve(ctx context.Context) {
	failures := 0
	for {
		c, err := s.Accept()
		if err != nil {
			if failures++; !retryable(ctx, err, failures) {
				return
			}
			continue
		}
		failures = 0
		w := s.forward
		switch {
		case !w.allowed.allows(c.RemoteAddr()):
			w.denied.Add(1)
			splice.Abort(c)
		case !w.take():
			w.refused.Add(1)
			splice.Abort(c)
		default:
			w.joins.Go(func() {
				defer w.connections.Add(-1)
				w.join(ctx, s.endpoint, c)
			})
		}
	}
}

// join connects a client to the target.
func (w *forward) join(ctx context.Context, e *endpoint, client net.Conn) {
	target, err := w.dial(ctx, e)
	if err != nil {
		splice.Abort(client)
		return
	}
	if w.spec.Proxy {
		_ = target.SetWriteDeadline(time.Now().Add(w.cfg.DialTimeout))
		if _, err := target.Write(proxyHeader(addrPort(client.RemoteAddr()), addrPort(client.LocalAddr()))); err != nil {
			w.unreachable(err)
			splice.Abort(client)
			splice.Abort(target)
			return
		}
	}
	_ = splice.Join(ctx, client, target, w.cfg.IdleTimeout, &w.bytes)
}
