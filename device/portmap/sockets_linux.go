package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// searchAgain is the time after which a search is repeated.
const searchAgain = time.Second

// isRefused reports whether nothing listens at a port.
func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// Kernel opens sockets of this host.
type Kernel struct {
	// Control marks a socket, so that its packets never enter the tunnel.
	Control func(network, address string, c syscall.RawConn) error
}

// control also keeps packets on the link: they never go to another gateway.
func (k Kernel) control(more func(fd int) error) func(network, address string, c syscall.RawConn) error {
	return func(network, address string, c syscall.RawConn) error {
		if err := k.Control(network, address, c); err != nil {
			return err
		}
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DONTROUTE, 1); err == nil && more != nil {
				err = more(int(fd))
			}
		}), err)
	}
}

// Dial implements [Sockets].
func (k Kernel) Dial(ctx context.Context, g mesh.Gateway, network string, port uint16) (net.Conn, error) {
	d := net.Dialer{Control: k.control(nil), LocalAddr: &net.UDPAddr{IP: g.Source.AsSlice()}}
	if network != "udp" {
		d.LocalAddr = &net.TCPAddr{IP: g.Source.AsSlice()}
	}
	return d.DialContext(ctx, network, netip.AddrPortFrom(g.Address, port).String())
}

// Search implements [Sockets].
func (k Kernel) Search(ctx context.Context, g mesh.Gateway, group netip.AddrPort, request []byte, answer func([]byte) bool) error {
	lc := net.ListenConfig{Control: k.control(func(fd int) error {
		return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(g.Link)})
	})}
	socket, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(g.Source, 0).String())
	if err != nil {
		return fmt.Errorf("open a UDP port: %w", err)
	}
	conn := socket.(*net.UDPConn)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	b := make([]byte, 2048)
	stray := 0
	for ctx.Err() == nil && stray < maxStray {
		_ = conn.SetReadDeadline(time.Now().Add(searchAgain))
		for _, to := range []netip.AddrPort{netip.AddrPortFrom(g.Address, group.Port()), group} {
			_, _ = conn.WriteToUDPAddrPort(request, to) // lost, as a datagram may be
		}
		for ; stray < maxStray; stray++ {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("search for UPnP gateways: %w", err)
			}
			if from.Addr().Unmap() == g.Address && answer(b[:n]) {
				return nil
			}
		}
	}
	return nil
}
