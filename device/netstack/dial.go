package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// DialContext connects through the mesh. The network is tcp or udp, with or without 4
// or 6. The address is ip:port, since no names are resolved here. DialContext can be
// used in an http.Transport.
func (n *Netstack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %q: the netstack takes ip:port: %w", address, err)
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if strings.HasSuffix(network, "4") && !to.Addr().Is4() || strings.HasSuffix(network, "6") && !to.Addr().Is6() {
		return nil, fmt.Errorf("dial %s %s: the address is of another family", network, to)
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
		return n.DialTCPAddrPort(ctx, to)
	case "udp", "udp4", "udp6":
		return n.DialUDP(netip.AddrPort{}, to)
	}
	return nil, fmt.Errorf("dial %s %s: %w", network, to, net.UnknownNetworkError(network))
}

// DialTCPAddrPort connects to a TCP port.
func (n *Netstack) DialTCPAddrPort(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	addr, protocol := fullAddress(to)
	c, err := gonet.DialContextTCP(ctx, n.stack, addr, protocol)
	if err != nil {
		return nil, fmt.Errorf("dial tcp %s: %w", to, err)
	}
	return c, nil
}

// ListenTCP listens for connections. An unspecified IPv6 address stands for all
// addresses of both families, and port 0 for a free port.
func (n *Netstack) ListenTCP(at netip.AddrPort) (net.Listener, error) {
	addr, protocol := fullAddress(at)
	l, err := gonet.ListenTCP(n.stack, addr, protocol)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp %s: %w", at, err)
	}
	return l, nil
}

// ListenUDP opens a UDP socket that receives from anywhere. Address and port are as
// for ListenTCP.
func (n *Netstack) ListenUDP(at netip.AddrPort) (net.PacketConn, error) {
	addr, protocol := fullAddress(at)
	c, err := gonet.DialUDP(n.stack, &addr, nil, protocol)
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
	c, err := gonet.DialUDP(n.stack, local, &remote, protocol)
	if err != nil {
		return nil, fmt.Errorf("dial udp %s: %w", to, err)
	}
	return c, nil
}

// fullAddress returns a in gVisor's form, where an unspecified address is empty.
func fullAddress(a netip.AddrPort) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	addr := tcpip.FullAddress{NIC: nic, Port: a.Port()}
	if !a.Addr().IsUnspecified() {
		addr.Addr = tcpip.AddrFromSlice(a.Addr().AsSlice())
	}
	if a.Addr().Is4() {
		return addr, ipv4.ProtocolNumber
	}
	return addr, ipv6.ProtocolNumber
}
