package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// Network is where clients of a proxy get to. An error that wraps one of the errors below,
// or the system's of the same meaning, tells the client what is wrong; others are general
// failures. Methods may be called by several goroutines.
type Network interface {
	// DialContext connects to HOST:PORT, HOST being an IP address or a name. The network is
	// always "tcp".
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// ListenPacket returns a socket for one UDP association.
	ListenPacket(ctx context.Context) (PacketConn, error)
}

// PacketConn sends and receives the datagrams of one UDP association. If it also has a
// method WaitReadable() error, which returns when ReadFrom would not wait, an association
// that is idle holds no buffer for it.
type PacketConn interface {
	// ReadFrom returns a datagram and its source. Any error ends the association.
	ReadFrom(p []byte) (int, netip.AddrPort, error)
	// WriteTo sends a datagram to an IP address or a name. Datagrams that follow wait for
	// it. An error drops the datagram; one that wraps net.ErrClosed ends the association.
	WriteTo(p []byte, host string, port uint16) (int, error)
	// Close also ends a ReadFrom and a WriteTo that wait.
	Close() error
}

// Errors of a Network.
var (
	ErrNotAllowed  = errors.New("not allowed")
	ErrUnreachable = errors.New("unreachable")
	ErrNoSuchHost  = errors.New("no such host")
	ErrRefused     = errors.New("connection refused")
)

// failure is a kind of error that clients can tell from others.
type failure int

const (
	failGeneral failure = iota
	failNotAllowed
	failNetwork
	failHost
	failRefused
	failTimeout
	failFamily
)

// failureKinds is searched in order.
var failureKinds = []struct {
	err  error
	kind failure
}{
	{ErrNotAllowed, failNotAllowed},
	{syscall.EACCES, failNotAllowed},
	{syscall.EPERM, failNotAllowed},
	{ErrNoSuchHost, failHost},
	{syscall.EHOSTUNREACH, failHost},
	{syscall.EHOSTDOWN, failHost},
	{ErrUnreachable, failNetwork},
	{syscall.ENETUNREACH, failNetwork},
	{syscall.ENETDOWN, failNetwork},
	{ErrRefused, failRefused},
	{syscall.ECONNREFUSED, failRefused},
	{syscall.ETIMEDOUT, failTimeout},
	{context.DeadlineExceeded, failTimeout},
	{os.ErrDeadlineExceeded, failTimeout},
	{syscall.EAFNOSUPPORT, failFamily},
}

// failureOf returns the kind of an error.
func failureOf(err error) failure {
	for _, k := range failureKinds {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return failHost
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return failTimeout
	}
	return failGeneral
}
