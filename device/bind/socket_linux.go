package bind

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketBuffer is how many bytes the kernel may queue on a socket, each way.
const socketBuffer = 7 << 20

// mmsghdr is C's struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	n uint32 // bytes sent or received
}

// kernel holds the system calls of a Bind. Tests replace some.
type kernel struct {
	listen  func(network string, port uint16) (*socket, error)
	send    func(fd uintptr, msgs []mmsghdr) (int, syscall.Errno)
	receive func(fd uintptr, msgs []mmsghdr) (int, syscall.Errno)
	mark    func(s *socket, mark uint32) error
}

func newKernel() kernel {
	return kernel{listen: listen, send: sendmmsg, receive: recvmmsg, mark: (*socket).setMark}
}

// socket is a UDP socket of one address family.
type socket struct {
	conn    *net.UDPConn
	raw     syscall.RawConn
	port    uint16
	segment atomic.Bool // the kernel segments bursts (UDP_SEGMENT)
	gro     bool        // the kernel coalesces datagrams (UDP_GRO)
	whole   sync.Mutex  // held while a datagram leaves that nobody may fragment
}

// listen opens a socket for network, udp4 or udp6. Port 0 is any.
func listen(network string, port uint16) (*socket, error) {
	s := &socket{}
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		var optErr error
		err := c.Control(func(fd uintptr) { optErr = s.configure(int(fd), network == "udp6") })
		if err == nil {
			err = optErr
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), network, ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	s.conn = pc.(*net.UDPConn)
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		_ = s.conn.Close()
		return nil, err
	}
	s.port = s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	return s, nil
}

// configure sets the options of a new socket. Datagrams larger than the route's MTU
// are fragmented. IPv4 datagrams carry no DF flag, as those of WireGuard in the
// kernel: a router fragments what its next link does not take. With the flag it
// drops them, and its ICMP message often gets lost. Bursts carry no flag in any case.
func (s *socket) configure(fd int, v6 bool) error {
	for _, opt := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF, unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		// Up to the host's limit, and beyond it if we have the right. An error only
		// means smaller buffers, which lose more packets under load.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, socketBuffer)
	}
	_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	s.segment.Store(err == nil)
	// Before Linux 5.12 the option can be set but not read, and is not reliable.
	if _, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO); err == nil {
		s.gro = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
	}
	if !v6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
			return err
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
}

func (s *socket) setMark(mark uint32) error { return setMark(s.raw, mark) }

// setMark sets the firewall mark of a socket.
func setMark(c syscall.RawConn, mark uint32) error {
	var markErr error
	err := c.Control(func(fd uintptr) {
		markErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	})
	if err == nil {
		err = markErr
	}
	return err
}

// sendmmsg and recvmmsg never block, so they are raw system calls, of which the
// scheduler does not know.

func sendmmsg(fd uintptr, msgs []mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])),
		uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func recvmmsg(fd uintptr, msgs []mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])),
		uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
