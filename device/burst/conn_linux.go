package burst

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// socketBuffer is how many bytes the kernel may queue on a socket, each way.
const socketBuffer = 7 << 20

// controlSize has room for the segment size and, on sockets that ask for it, a local address.
const controlSize = 128

// Conn is a socket that moves bursts. Its other methods to read see several datagrams as one. Use
// New.
type Conn struct {
	*net.UDPConn
	control   []byte
	connected bool
	single    atomic.Bool // the kernel or the link can't segment
}

// New takes over a socket. Its IPv4 datagrams carry no DF flag from then on, like those of
// WireGuard. ReadBurst belongs to one goroutine.
func New(c *net.UDPConn) *Conn {
	s := &Conn{UDPConn: c, control: make([]byte, controlSize), connected: c.RemoteAddr() != nil}
	s.single.Store(true)
	raw, err := c.SyscallConn()
	if err != nil {
		return s
	}
	_ = raw.Control(func(fd uintptr) { s.configure(int(fd)) }) // it is closed
	return s
}

func (s *Conn) configure(fd int) {
	for _, opt := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF, unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, socketBuffer) // else it is smaller
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT) // of IPv6: nothing
	_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	s.single.Store(err != nil)
	// Before Linux 5.12 the option can be set but not read, and is not reliable.
	if _, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO); err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1)
	}
}

// ReadBurst implements Socket.
func (s *Conn) ReadBurst(b []byte) (n, size int, from netip.AddrPort, err error) {
	n, size, _, from, err = s.ReadBurstMsg(b, s.control)
	return n, size, from, err
}

// ReadBurstMsg is ReadBurst, and returns how many bytes of control messages there are beside the
// size, of what the socket asks for.
func (s *Conn) ReadBurstMsg(b, control []byte) (n, size, controls int, from netip.AddrPort, err error) {
	n, controls, flags, from, err := s.ReadMsgUDPAddrPort(b, control)
	if err != nil {
		return 0, 0, 0, from, err
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		n = 0 // it is not known where datagrams end
	}
	size, controls = takeSize(control[:controls])
	if size == 0 {
		size = n
	}
	return n, size, controls, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil
}

// takeSize takes the size of segments, 0 if there is none, out of control messages, and returns
// how many bytes of those are left.
func takeSize(b []byte) (size, left int) {
	for rest := b; len(rest) >= unix.SizeofCmsghdr; {
		h, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			return size, left
		}
		if h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			size = int(int32(binary.NativeEndian.Uint32(data)))
		} else {
			left += copy(b[left:], rest[:len(rest)-len(next)])
		}
		rest = next
	}
	return max(0, size), left
}

// WriteBurst implements Socket.
func (s *Conn) WriteBurst(b []byte, size int, to netip.AddrPort) error {
	return s.WriteBurstMsg(b, size, nil, to)
}

// WriteBurstMsg is WriteBurst with control messages.
func (s *Conn) WriteBurstMsg(b []byte, size int, controls []byte, to netip.AddrPort) error {
	if len(b) > size && !s.single.Load() {
		var control [controlSize]byte
		n := copy(control[:controlSize-unix.CmsgSpace(2)], controls)
		err := s.write(b, control[:n+putSize(control[n:], size)], to)
		switch {
		case errors.Is(err, unix.EIO):
			s.single.Store(true)
		case !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.EINVAL): // more than the route's MTU
			return err
		}
	}
	var last error
	for len(b) > 0 {
		var first []byte
		first, b = Cut(b, size)
		if err := s.write(first, controls, to); err != nil {
			last = err
		}
	}
	return last
}

func (s *Conn) write(b, control []byte, to netip.AddrPort) (err error) {
	if s.connected {
		_, _, err = s.WriteMsgUDP(b, control, nil)
	} else {
		_, _, err = s.WriteMsgUDPAddrPort(b, control, to)
	}
	return err
}

// putSize writes a control message that has the kernel cut a burst. It returns the space it takes.
// The bytes may be at any address, so it writes no struct.
func putSize(b []byte, size int) int {
	if unix.SizeofCmsghdr == 16 {
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(unix.CmsgLen(2)))
	}
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(size))
	return unix.CmsgSpace(2)
}
