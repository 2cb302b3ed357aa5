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

// socketBuffer is the buffer size of the kernel's UDP sockets. It is large so that
// datagrams are lost in the network only, and not while the receiver waits for a
// core.
const socketBuffer = 4 << 20

// Dialer opens a connection. network is "tcp" or "udp".
type Dialer func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)

// Dial is a Dialer for the kernel's network.
func Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, to.String())
	if err == nil {
		enlarge(c)
	}
	return c, err
}

// Listen opens TCP and UDP sockets for a server in the kernel's network. Port 0
// stands for a free port, the same for both.
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

// enlarge sets the buffers of a kernel's UDP socket to socketBuffer. A process
// with CAP_NET_ADMIN exceeds the system's limit; otherwise the limit holds. A
// failure is no error: the buffers stay small.
func enlarge(c any) {
	u, ok := c.(*net.UDPConn)
	if !ok {
		return
	}
	_ = control(u, func(fd int) error {
		for force, plain := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
			if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, socketBuffer)
			}
		}
		return nil
	})
}

// setCongestion sets the TCP congestion control of a kernel connection. Other
// stacks keep theirs, which is part of what is measured.
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
	defer func() { _ = unix.Close(fd) }()
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) == nil
}

// retransmits returns how many segments a kernel connection has retransmitted. ok
// is false for connections that don't report it.
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

// control calls do with the descriptor of a connection.
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

// closeWrite closes the sending direction of a stream.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.New("the connection can't be closed in one direction")
}
