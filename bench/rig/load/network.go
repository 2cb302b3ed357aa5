package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketBuffer is asked for on UDP sockets of the kernel, so that what is lost
// is lost in the network and not while the receiver waits for a core.
const socketBuffer = 4 << 20

// Dialer opens a connection; network is tcp or udp.
type Dialer func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)

// Dial is the Dialer of the kernel's network.
func Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, to.String())
	if err == nil {
		enlarge(c)
	}
	return c, err
}

// Listen opens the kernel's TCP and UDP sockets of a server; port 0 picks one
// that is free in both.
func Listen(at netip.AddrPort) (net.Listener, net.PacketConn, error) {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, nil, fmt.Errorf("listen for measurements: %w", err)
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		_ = l.Close()
		return nil, nil, fmt.Errorf("listen for measurements: %w", err)
	}
	enlarge(p)
	return l, p, nil
}

// enlarge asks for larger buffers of a UDP socket: beyond the system's limit
// where the right to it is there.
func enlarge(c any) {
	u, ok := c.(*net.UDPConn)
	if !ok {
		return
	}
	control(u, func(fd int) error {
		for force, plain := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
			if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, socketBuffer)
			}
		}
		return nil
	})
}

// setCongestion chooses the TCP congestion control of a kernel connection;
// other stacks keep theirs, which is part of what is measured.
func setCongestion(c net.Conn, name string) error {
	t, ok := c.(*net.TCPConn)
	if !ok || name == "" {
		return nil
	}
	err := control(t, func(fd int) error {
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("TCP congestion control %q is not available here (see sysctl net.ipv4.tcp_allowed_congestion_control)", name)
	}
	return err
}

// CongestionAllowed reports whether this process may choose a TCP congestion
// control.
func CongestionAllowed(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) == nil
}

// retransmits is how many segments a kernel connection sent again; ok is false
// for connections that don't tell.
func retransmits(c net.Conn) (n uint64, ok bool) {
	t, isTCP := c.(*net.TCPConn)
	if !isTCP {
		return 0, false
	}
	err := control(t, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = uint64(info.Total_retrans)
		}
		return err
	})
	return n, err == nil
}

func control(c syscall.Conn, do func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// closeWrite ends one direction of a stream.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.New("the connection can't be closed in one direction")
}
