package netstack

import (
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// udpConn is a UDP socket. Its errors are those of package net.
type udpConn struct {
	*gonet.UDPConn
	state
	endpoint tcpip.Endpoint
	queue    *waiter.Queue
}

// ListenUDP opens a UDP socket that receives from anywhere. Address and port are as
// for ListenTCP.
func (n *Netstack) ListenUDP(at netip.AddrPort) (net.PacketConn, error) {
	addr, protocol := fullAddress(at)
	c, err := n.openUDP(&addr, nil, protocol)
	if err != nil {
		return nil, fmt.Errorf("listen on udp %s: %w", at, err)
	}
	return c, nil
}

// DialUDP opens a connected UDP socket. For a zero from, the stack chooses address and
// port.
func (n *Netstack) DialUDP(from, to netip.AddrPort) (net.Conn, error) {
	remote, protocol := fullAddress(to)
	var local *tcpip.FullAddress
	if from.IsValid() {
		addr, _ := fullAddress(from)
		local = &addr
	}
	c, err := n.openUDP(local, &remote, protocol)
	if err != nil {
		return nil, fmt.Errorf("dial udp %s: %w", to, err)
	}
	return c, nil
}

func (n *Netstack) openUDP(local, remote *tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber) (*udpConn, error) {
	queue := new(waiter.Queue)
	endpoint, err := n.stack.NewEndpoint(udp.ProtocolNumber, protocol, queue)
	if err != nil {
		return nil, errorOf(err)
	}
	if local != nil {
		err = endpoint.Bind(*local)
	}
	if err == nil && remote != nil {
		err = endpoint.Connect(*remote)
	}
	if err != nil {
		endpoint.Close()
		return nil, errorOf(err)
	}
	return &udpConn{UDPConn: gonet.NewUDPConn(queue, endpoint), endpoint: endpoint, queue: queue}, nil
}

// Read reads a datagram. After Close the error is net.ErrClosed.
func (c *udpConn) Read(p []byte) (int, error) {
	n, err := c.UDPConn.Read(p)
	return n, c.translate(err)
}

// ReadFrom reads a datagram, and returns its sender.
func (c *udpConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := c.UDPConn.ReadFrom(p)
	return n, from, c.translate(err)
}

// Write sends a datagram.
func (c *udpConn) Write(p []byte) (int, error) {
	n, err := c.UDPConn.Write(p)
	return n, c.translate(err)
}

// WriteTo sends a datagram to a *net.UDPAddr.
func (c *udpConn) WriteTo(p []byte, to net.Addr) (int, error) {
	n, err := c.UDPConn.WriteTo(p, to)
	return n, c.translate(err)
}

// WaitReadable waits until Read has something to return, or the socket is closed. It knows
// no deadline.
func (c *udpConn) WaitReadable() error {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	c.queue.EventRegister(&entry)
	defer c.queue.EventUnregister(&entry)
	for c.endpoint.Readiness(waiter.ReadableEvents) == 0 {
		if c.closed.Load() {
			return net.ErrClosed
		}
		<-ready
	}
	return nil
}

// Close closes the socket.
func (c *udpConn) Close() error {
	c.closed.Store(true)
	return c.UDPConn.Close()
}
