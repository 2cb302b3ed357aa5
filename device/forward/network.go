package forward

import (
	"context"
	"net"

	"github.com/wirespan/wirespan/mesh/unixsocket"
)

// Network is the mesh.
type Network interface {
	// DialContext connects; network is tcp or udp, address host:port, where host is a
	// name or an IP address.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Listen and ListenPacket open a port of the mesh address.
	Listen(port uint16) (net.Listener, error)
	ListenPacket(port uint16) (net.PacketConn, error)
}

// Host is this host.
type Host interface {
	// DialContext connects; network is tcp, udp or unix.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Listen opens a listener; network is tcp, tcp4 or unix. ListenPacket is for udp and
	// udp4.
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// Sockets is the Host with the kernel's sockets. Unix sockets that it listens on have mode
// 0600.
type Sockets struct {
	net.Dialer
	net.ListenConfig
}

// Listen opens a listener.
func (s *Sockets) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if network == "unix" {
		return unixsocket.Listen(address)
	}
	return s.ListenConfig.Listen(ctx, network, address)
}
