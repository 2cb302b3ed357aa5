package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
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

// DialTCPAddrPort connects to a TCP port. The connection has CloseWrite, CloseRead and
// SetLinger, as *net.TCPConn has, and errors wrap the numbers of package syscall.
func (n *Netstack) DialTCPAddrPort(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	addr, protocol := fullAddress(to)
	c, err := n.dialTCP(ctx, addr, protocol)
	if err != nil {
		return nil, fmt.Errorf("dial tcp %s: %w", to, err)
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
