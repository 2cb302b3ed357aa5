package netstack

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// backlog bounds the connections of a listener that nobody has accepted yet, and those
// that are being opened. Beyond it the stack answers with SYN cookies.
const backlog = 128

// listener listens for TCP connections.
type listener struct {
	endpoint tcpip.Endpoint
	queue    *waiter.Queue
	address  net.Addr
	done     chan struct{} // closed by Close
	close    func()
}

// ListenTCP listens for connections. An unspecified IPv6 address stands for all
// addresses of both families, and port 0 for a free port.
func (n *Netstack) ListenTCP(at netip.AddrPort) (net.Listener, error) {
	l, err := n.listenTCP(at)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp %s: %w", at, err)
	}
	return l, nil
}

func (n *Netstack) listenTCP(at netip.AddrPort) (*listener, error) {
	addr, protocol := fullAddress(at)
	queue := new(waiter.Queue)
	endpoint, err := n.stack.NewEndpoint(tcp.ProtocolNumber, protocol, queue)
	if err != nil {
		return nil, errorOf(err)
	}
	if err = endpoint.Bind(addr); err == nil {
		err = endpoint.Listen(backlog)
	}
	var bound tcpip.FullAddress
	if err == nil {
		bound, err = endpoint.GetLocalAddress()
	}
	if err != nil {
		endpoint.Close()
		return nil, errorOf(err)
	}
	l := &listener{endpoint: endpoint, queue: queue, done: make(chan struct{})}
	l.address = &net.TCPAddr{IP: net.IP(bound.Addr.AsSlice()), Port: int(bound.Port)}
	l.close = sync.OnceFunc(func() {
		close(l.done)
		endpoint.Close()
	})
	return l, nil
}

// Accept returns the next connection.
func (l *listener) Accept() (net.Conn, error) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	l.queue.EventRegister(&entry)
	defer l.queue.EventUnregister(&entry)
	for {
		endpoint, queue, err := l.endpoint.Accept(nil)
		select {
		case <-l.done:
			if err == nil {
				endpoint.Close()
			}
			return nil, l.failed(net.ErrClosed)
		default:
		}
		if err == nil {
			return newConn(queue, endpoint), nil
		}
		switch err.(type) {
		case *tcpip.ErrWouldBlock:
		case *tcpip.ErrInvalidEndpointState: // the stack was closed
			return nil, l.failed(net.ErrClosed)
		default:
			return nil, l.failed(errorOf(err))
		}
		select {
		case <-l.done:
		case <-ready:
		}
	}
}

func (l *listener) failed(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.address, Err: err}
}

// Close stops to listen. It resets connections that nobody has accepted.
func (l *listener) Close() error {
	l.close()
	return nil
}

// Addr returns the address listened on.
func (l *listener) Addr() net.Addr { return l.address }
