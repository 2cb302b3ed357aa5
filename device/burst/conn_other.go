//go:build !linux

package burst

import (
	"net"
	"net/netip"
)

// Conn is a socket that moves datagrams one by one. Use New.
type Conn struct{ *net.UDPConn }

// New takes over a socket.
func New(c *net.UDPConn) *Conn { return &Conn{c} }

// ReadBurst implements Socket.
func (s *Conn) ReadBurst(b []byte) (n, size int, from netip.AddrPort, err error) {
	n, from, err = s.ReadFromUDPAddrPort(b)
	return n, n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

// WriteBurst implements Socket.
func (s *Conn) WriteBurst(b []byte, size int, to netip.AddrPort) (err error) {
	for len(b) > 0 && err == nil {
		var first []byte
		first, b = Cut(b, size)
		if s.RemoteAddr() != nil {
			_, err = s.Write(first)
		} else {
			_, err = s.WriteToUDPAddrPort(first, to)
		}
	}
	return err
}
