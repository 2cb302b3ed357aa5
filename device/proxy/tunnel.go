package proxy

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/wirespan/wirespan/device/splice"
)

// dial connects to a destination within the time for it.
func (v *service) dial(ctx context.Context, address string) (net.Conn, error) {
	done, ok := v.begin()
	if !ok {
		return nil, context.Canceled
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, v.limits.Dial)
	defer cancel()
	return v.network.DialContext(ctx, "tcp", address)
}

// dialFor is dial, and ends when the client goes away. early is what the client has sent
// meanwhile, at most a byte.
func (v *service) dialFor(ctx context.Context, c *client, address string) (far net.Conn, early []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_ = c.SetReadDeadline(time.Time{})
	watched := make(chan []byte, 1)
	go func() {
		var b [1]byte
		n, err := c.Read(b[:])
		if err != nil {
			cancel()
		}
		watched <- b[:n]
	}()
	far, err = v.dial(ctx, address)
	_ = c.SetReadDeadline(time.Unix(1, 0))
	early = <-watched
	return far, early, err
}

// tunnel sends the reply, and what the client sent early, and then joins both connections
// until they end.
func (v *service) tunnel(ctx context.Context, near, far net.Conn, reply, early []byte) {
	_ = near.SetWriteDeadline(time.Now().Add(v.limits.Handshake))
	if _, err := near.Write(reply); err != nil {
		splice.Abort(far)
		return
	}
	if len(early) > 0 {
		_ = far.SetWriteDeadline(time.Now().Add(v.limits.Handshake))
		if _, err := far.Write(early); err != nil {
			splice.Abort(near)
			splice.Abort(far)
			return
		}
		v.counters.moved.AToB.Add(int64(len(early)))
	}
	if err := splice.Join(ctx, near, far, v.limits.Idle, &v.counters.moved); err != nil {
		v.log.Debug("connection ended early", "client", near.RemoteAddr(), "error", err)
	}
}

// isSelf reports whether a destination is the proxy itself: the address where a client has
// reached it, or another name of this machine with the same port. What else leads back here
// is for the Network to refuse.
func isSelf(own net.Addr, to target) bool {
	self := addrPort(own)
	if !self.IsValid() || to.port != self.Port() {
		return false
	}
	name := strings.ToLower(strings.TrimSuffix(to.host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(to.host)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return ip == self.Addr().WithZone("") || ip.IsLoopback() || ip.IsUnspecified()
}

// addrPort returns the zero value for what is not an IP address with a port.
func addrPort(a net.Addr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// hostPort returns HOST:PORT. IP addresses that are IPv4 in disguise are unmasked.
func hostPort(host string, port uint16) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
