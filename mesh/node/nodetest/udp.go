package nodetest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// UDP is a UDP socket of a host, for other programs than its node's device. It has the methods of
// *net.UDPConn that relays need, without deadlines. Use [Host.ListenUDP] or [Host.Dial].
type UDP struct {
	socket *socket
	remote netip.AddrPort // of a connected one
}

// ListenUDP opens a socket; port 0 stands for one that is free.
func (h *Host) ListenUDP(port uint16) (*UDP, error) {
	s, err := h.listen(port)
	if err != nil {
		return nil, err
	}
	return &UDP{socket: s}, nil
}

// Dial returns a connected socket of UDP, or a stream to a listener on the internet. The host
// starts from its public address then, and data of a stream takes no time.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		return h.dialTCP(ctx, to)
	}
	s, err := h.listen(0)
	if err != nil {
		return nil, err
	}
	return &UDP{socket: s, remote: to}, nil
}

// ReadFromUDPAddrPort returns the next datagram. A connected socket has those of its peer alone.
func (u *UDP) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		d, err := u.socket.receive()
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		if !u.remote.IsValid() || d.Source == u.remote {
			return copy(b, d.Payload), d.Source, nil
		}
	}
}

// WriteToUDPAddrPort sends a datagram.
func (u *UDP) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if err := u.socket.send(netip.Addr{}, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadFrom is ReadFromUDPAddrPort.
func (u *UDP) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := u.ReadFromUDPAddrPort(b)
	return n, net.UDPAddrFromAddrPort(from), err
}

// WriteTo is WriteToUDPAddrPort.
func (u *UDP) WriteTo(b []byte, to net.Addr) (int, error) {
	return u.WriteToUDPAddrPort(b, to.(*net.UDPAddr).AddrPort())
}

// Read returns the next datagram of the peer.
func (u *UDP) Read(b []byte) (int, error) {
	n, _, err := u.ReadFromUDPAddrPort(b)
	return n, err
}

// Write sends a datagram to the peer.
func (u *UDP) Write(b []byte) (int, error) { return u.WriteToUDPAddrPort(b, u.remote) }

// Close closes the socket.
func (u *UDP) Close() error {
	u.socket.close()
	return nil
}

// LocalAddr returns the port.
func (u *UDP) LocalAddr() net.Addr { return &net.UDPAddr{Port: int(u.socket.port)} }

// RemoteAddr returns the peer of a connected socket.
func (u *UDP) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(u.remote) }

// SetDeadline does nothing.
func (u *UDP) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (u *UDP) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (u *UDP) SetWriteDeadline(time.Time) error { return nil }

// Listener accepts streams of other hosts. Use [Host.ListenTCP].
type Listener struct {
	host   *Host
	port   uint16
	conns  chan net.Conn
	closed chan struct{}
}

// ListenTCP opens a listener on all addresses of a host on the internet.
func (h *Host) ListenTCP(port uint16) (*Listener, error) {
	h.network.router.mu.Lock()
	defer h.network.router.mu.Unlock()
	if h.listeners[port] != nil {
		return nil, fmt.Errorf("port %d is in use", port)
	}
	l := &Listener{host: h, port: port, conns: make(chan net.Conn), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

// Accept returns the next stream.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Streams stay.
func (l *Listener) Close() error {
	r := l.host.network.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.host.listeners[l.port] == l {
		delete(l.host.listeners, l.port)
		close(l.closed)
	}
	return nil
}

// Addr returns the port.
func (l *Listener) Addr() net.Addr { return &net.TCPAddr{Port: int(l.port)} }

func (h *Host) dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	from := h.Public()
	r := h.network.router
	r.mu.Lock()
	var l *Listener
	if other := r.internet.host(to.Addr()); other != nil {
		l = other.listeners[to.Port()]
	}
	h.port++
	local, delay := netip.AddrPortFrom(from, h.port), 2*h.line.Delay
	r.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %v: nobody listens", to)
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	a, b := net.Pipe()
	select {
	case l.conns <- stream{b, to, local}:
		return stream{a, local, to}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stream is one end of a stream.
type stream struct {
	net.Conn
	local, remote netip.AddrPort
}

func (s stream) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(s.local) }
func (s stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }
