package host

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
	"github.com/wirespan/wirespan/mesh"
)

// internet is an address that only the default route leads to. Nothing is sent there.
var internet = netip.AddrFrom4([4]byte{193, 0, 14, 129})

var (
	errNoDefault = errors.New("encrypted packets have no IPv4 default route")
	errNoGateway = errors.New("the IPv4 default route of encrypted packets has no gateway")
)

// Gateway returns the next hop of the IPv4 default route that encrypted packets take, which is
// on the link. Routes into the tunnel never count. In a VRF it is that of the VRF.
func (h *Host) Gateway() (mesh.Gateway, error) {
	rt, err := openNetlink()
	if err != nil {
		return mesh.Gateway{}, err
	}
	defer rt.Close()
	bound, err := boundTo()
	if err != nil {
		return mesh.Gateway{}, err
	}
	q := netlink.RouteQuery{Destination: internet, Mark: h.cfg.EncryptedMark, Out: bound}
	out, err := rt.LookupRoute(q)
	if err != nil || out.Type != unix.RTN_UNICAST || out.Table == h.cfg.RoutingTable {
		return mesh.Gateway{}, errNoDefault
	}
	if !out.Gateway.Is4() {
		return mesh.Gateway{}, errNoGateway
	}
	q.Destination = out.Gateway
	near, err := rt.LookupRoute(q)
	onLink := !near.Gateway.IsValid() || near.Gateway == out.Gateway // a table may have nothing but the default route
	if err != nil || near.Type != unix.RTN_UNICAST || near.Table == h.cfg.RoutingTable || !onLink || near.Interface != out.Interface {
		return mesh.Gateway{}, fmt.Errorf("the gateway %v is not on the link of the default route", out.Gateway)
	}
	return mesh.Gateway{Address: out.Gateway, Source: near.Source, Link: out.Interface}, nil
}

// boundTo returns the interface to which this process' sockets are bound by itself, as in a
// VRF (ip vrf exec); 0: to none.
func boundTo() (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket: %w", err)
	}
	index, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	_ = unix.Close(fd)
	if err != nil { // Linux before 5.0
		return 0, nil
	}
	return uint32(index), nil
}
