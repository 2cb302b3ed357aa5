package netstack

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A connection without traffic is tested after keepAliveIdle, and broken if the other
// side does not answer.
const (
	keepAliveIdle     = 5 * time.Minute
	keepAliveInterval = 30 * time.Second
	keepAliveCount    = 5
)

// tcpConn is a TCP connection. Beside gonet's methods it has those that *net.TCPConn has, and
// its errors are those of package net.
type tcpConn struct {
	*gonet.TCPConn
	state
	endpoint tcpip.Endpoint
}

// newConn sets options, which the stack takes in every state.
func newConn(queue *waiter.Queue, endpoint tcpip.Endpoint) *tcpConn {
	idle, interval := tcpip.KeepaliveIdleOption(keepAliveIdle), tcpip.KeepaliveIntervalOption(keepAliveInterval)
	_, _ = endpoint.SetSockOpt(&idle), endpoint.SetSockOpt(&interval)
	_ = endpoint.SetSockOptInt(tcpip.KeepaliveCountOption, keepAliveCount)
	endpoint.SocketOptions().SetKeepAlive(true)
	return &tcpConn{TCPConn: gonet.NewTCPConn(queue, endpoint), endpoint: endpoint}
}

// dialTCP connects. gonet's own function keeps the endpoint to itself.
func (n *Netstack) dialTCP(ctx context.Context, to tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber) (*tcpConn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var queue waiter.Queue
	endpoint, stackErr := n.stack.NewEndpoint(tcp.ProtocolNumber, protocol, &queue)
	if stackErr != nil {
		return nil, errorOf(stackErr)
	}
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	stackErr = endpoint.Connect(to)
	if _, started := stackErr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			endpoint.Close()
			return nil, ctx.Err()
		case <-connected:
		}
		stackErr = endpoint.LastError()
	}
	if stackErr != nil {
		endpoint.Close()
		return nil, errorOf(stackErr)
	}
	return newConn(&queue, endpoint), nil
}

// Read reads data. After Close the error is net.ErrClosed.
func (c *tcpConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	return n, c.translate(err)
}

func (c *tcpConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	return n, c.translate(err)
}

// WaitReadable waits until Read has something to return: data, the end, or an error. An
// error may be returned once, by WaitReadable instead of Read.
func (c *tcpConn) WaitReadable() error {
	if c.endpoint.Readiness(waiter.ReadableEvents) != 0 {
		return nil
	}
	// Reading into an empty buffer waits for data and takes none.
	_, err := c.TCPConn.Read(nil)
	var op *net.OpError
	if errors.As(err, &op) && op.Err.Error() == (&tcpip.ErrBadBuffer{}).String() {
		return nil
	}
	return c.translate(err)
}

// Broken returns an error if the connection is gone: reset, or silent until a time-out.
func (c *tcpConn) Broken() error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	if s := tcp.EndpointState(c.endpoint.State()); s == tcp.StateError || s == tcp.StateClose {
		return syscall.ECONNRESET
	}
	return nil
}

// SetLinger decides what Close does with data that is not acknowledged. For 0 it is
// dropped, and the other side sees a reset. Otherwise it is sent in the background.
func (c *tcpConn) SetLinger(seconds int) error {
	c.endpoint.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: seconds == 0})
	return nil
}

// Close closes the connection.
func (c *tcpConn) Close() error {
	c.closed.Store(true)
	return c.TCPConn.Close()
}
