package inflight

import (
	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
)

// Trace makes the bind log handshake messages and keepalives with their addresses, at
// level trace. It must be called before the device is up.
func (b *Bind) Trace(log hclog.Logger) { b.log = log }

// traceSent logs a message that was sent. Upstream sends each of these alone.
func (b *Bind) traceSent(bufs [][]byte, to conn.Endpoint, err error) {
	if b.log == nil || len(bufs) != 1 || !b.log.IsTrace() {
		return
	}
	switch kind := messageKind(bufs[0], len(bufs[0])); {
	case kind == "":
	case err != nil:
		b.log.Trace("not sent", "message", kind, "to", to.DstToString(), "error", err)
	default:
		b.log.Trace("sent", "message", kind, "to", to.DstToString())
	}
}

// traceReceived logs the messages that came in, but for those that were dropped.
func (b *Bind) traceReceived(bufs [][]byte, sizes []int, from []conn.Endpoint) {
	if b.log == nil || !b.log.IsTrace() {
		return
	}
	for i, size := range sizes {
		if kind := messageKind(bufs[i], size); kind != "" {
			b.log.Trace("received", "message", kind, "from", from[i].DstToString())
		}
	}
}

// messageKind names a handshake message or a keepalive; it is empty for other messages.
func messageKind(b []byte, size int) string {
	switch {
	case size == wireguard.MessageKeepaliveSize && b[0] == wireguard.MessageTransportType:
		return "keepalive"
	case !isHandshake(b, size):
		return ""
	}
	return [...]string{
		wireguard.MessageInitiationType:  "handshake initiation",
		wireguard.MessageResponseType:    "handshake response",
		wireguard.MessageCookieReplyType: "cookie reply",
	}[b[0]]
}
