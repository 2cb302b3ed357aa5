package engine

import (
	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
)

// recorder is the sockets, of which it logs and remembers what passes.
type recorder struct {
	conn.Bind
	attempts *attempts    // nil: nothing is remembered
	log      hclog.Logger // of handshake messages and keepalives, at level trace
}

// Open opens the sockets.
func (r *recorder) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := r.Bind.Open(port)
	for i, fn := range fns {
		fns[i] = func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
			n, err := fn(bufs, sizes, eps)
			r.received(bufs, sizes[:n], eps)
			return n, err
		}
	}
	return fns, actual, err
}

// Send sends bufs, and takes note of that.
func (r *recorder) Send(bufs [][]byte, ep conn.Endpoint) error {
	err := r.Bind.Send(bufs, ep)
	r.attempts.sent(bufs, ep, err)
	r.sent(bufs, ep, err)
	if err != nil {
		return &sendError{ep, err}
	}
	return nil
}

// sent logs a message that was sent. Upstream sends each of these alone.
func (r *recorder) sent(bufs [][]byte, to conn.Endpoint, err error) {
	if len(bufs) != 1 || !r.log.IsTrace() {
		return
	}
	switch kind := messageKind(bufs[0]); {
	case kind == "":
	case err != nil:
		r.log.Trace("not sent", "message", kind, "to", endpointText(to), "error", err)
	default:
		r.log.Trace("sent", "message", kind, "to", endpointText(to))
	}
}

// received logs the messages that came in.
func (r *recorder) received(bufs [][]byte, sizes []int, from []conn.Endpoint) {
	if !r.log.IsTrace() {
		return
	}
	for i, size := range sizes {
		if kind := messageKind(bufs[i][:size]); kind != "" {
			r.log.Trace("received", "message", kind, "from", endpointText(from[i]))
		}
	}
}

// messageKind names a handshake message or a keepalive; it is empty for other messages.
func messageKind(b []byte) string {
	switch messageType(b) {
	case wireguard.MessageInitiationType:
		return "handshake initiation"
	case wireguard.MessageResponseType:
		return "handshake response"
	case wireguard.MessageCookieReplyType:
		return "cookie reply"
	case wireguard.MessageTransportType:
		if len(b) == wireguard.MessageKeepaliveSize {
			return "keepalive"
		}
	}
	return ""
}
