package bind

import (
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// SendWhole sends a datagram that nobody may fragment, neither this host nor a router.
// What the kernel knows about the path's MTU does not count, but the MTU of the link
// does: then the error is EMSGSIZE. For IPv4 there is an option of the socket alone. Other
// packets that leave in the meantime may not be fragmented either; nobody waits.
func (b *Bind) SendWhole(buf []byte, ep conn.Endpoint) error {
	e, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	s, v6 := b.v4.Load(), e.nameLen == unix.SizeofSockaddrInet6
	if v6 {
		s = b.v6.Load()
	}
	if s == nil {
		return unix.EAFNOSUPPORT
	}
	s.whole.Lock()
	defer s.whole.Unlock()
	err := s.keepWhole(v6, true)
	if err == nil {
		err = b.Send([][]byte{buf}, ep)
	}
	if back := s.keepWhole(v6, false); err == nil {
		err = back
	}
	return err
}

// keepWhole says whether datagrams may be fragmented from now on.
func (s *socket) keepWhole(v6, on bool) error {
	level, name, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT
	if on {
		value = unix.IP_PMTUDISC_PROBE
	}
	if v6 {
		level, name, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_WANT
		if on {
			value = unix.IPV6_PMTUDISC_PROBE
		}
	}
	var optErr error
	err := s.raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), level, name, value)
		if v6 && optErr == nil {
			optErr = unix.SetsockoptInt(int(fd), level, unix.IPV6_DONTFRAG, b2i(on))
		}
	})
	if err == nil {
		err = optErr
	}
	return err
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
