package relay

import (
	"context"
	"net"
	"syscall"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/mesh/proxied"
)

// SystemDial returns a function for Access that opens sockets of the system. Control marks them;
// nil: it is not called. Those of UDP move bursts, and their datagrams may be fragmented on their
// way, as those of WireGuard are: a full packet of the tunnel has 1,512 bytes with TURN's header.
func SystemDial(control func(network, address string, c syscall.RawConn) error) proxied.DialFunc {
	d := &net.Dialer{Control: control}
	if control != nil { // look-ups of a proxy's name need the mark too
		d.Resolver = &net.Resolver{PreferGo: true, Dial: (&net.Dialer{Control: control}).DialContext}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if udp, ok := c.(*net.UDPConn); ok {
			return burst.New(udp), nil
		}
		return c, err
	}
}
