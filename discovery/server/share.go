package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// Protocols of a port that is shared, as clients name them in TLS (RFC 9113, RFC 7443).
const (
	protocolHTTP2 = "h2"
	protocolTURN  = "stun.turn"
)

// recordHandshake is the first byte of a TLS connection: the type of the record.
const recordHandshake = 0x16

// isSTUN reports whether a connection that begins with a byte is one of STUN or TURN: a request or
// an indication, whose type has few bits. HTTP/2 begins with a letter.
func isSTUN(first byte) bool { return first <= 1 }

var errNoProtocol = errors.New("the client names no protocol (ALPN), and does not speak STUN")

// sharing is the handshake on a port that TURN has a share in, in the clear and over TLS. It gives
// such connections to other. Until the handshake is over, they have the deadline that grpc sets.
type sharing struct {
	credentials.TransportCredentials
	config *tls.Config
	other  func(net.Conn)
}

func newSharing(c *tls.Config, other func(net.Conn)) *sharing {
	c = c.Clone()
	c.NextProtos = []string{protocolHTTP2, protocolTURN}
	return &sharing{credentials.NewTLS(c), c, other}
}

// Clone implements credentials.TransportCredentials.
func (s *sharing) Clone() credentials.TransportCredentials {
	return &sharing{s.TransportCredentials.Clone(), s.config, s.other}
}

// ServerHandshake implements credentials.TransportCredentials.
func (s *sharing) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := &sharedConn{Conn: raw}
	first, err := peek(conn)
	switch {
	case err != nil:
		return nil, nil, err
	case isSTUN(first):
		return nil, nil, s.dispatch(conn, &peeked{conn, []byte{first}})
	case first != recordHandshake:
		return nil, nil, errors.New("neither TLS nor STUN")
	}
	secure := tls.Server(&peeked{conn, []byte{first}}, s.config)
	if err := secure.HandshakeContext(context.Background()); err != nil { // conn has a deadline
		return nil, nil, err
	}
	state := secure.ConnectionState()
	switch state.NegotiatedProtocol {
	case protocolHTTP2:
		info := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
		return secure, credentials.TLSInfo{State: state, CommonAuthInfo: info}, nil
	case protocolTURN:
		return nil, nil, s.dispatch(conn, secure)
	}
	if first, err = peek(secure); err != nil {
		return nil, nil, err
	}
	if !isSTUN(first) {
		return nil, nil, errNoProtocol
	}
	return nil, nil, s.dispatch(conn, &peeked{secure, []byte{first}})
}

// dispatch gives a connection to those that share the port.
func (s *sharing) dispatch(below *sharedConn, conn net.Conn) error {
	below.give()
	s.other(conn)
	return credentials.ErrConnDispatched
}

// peek reads the first byte of a connection.
func peek(conn net.Conn) (byte, error) {
	var b [1]byte
	for {
		if n, err := conn.Read(b[:]); n > 0 || err != nil {
			if n > 0 {
				err = nil
			}
			return b[0], err
		}
	}
}

// peeked is a connection of which a part was read.
type peeked struct {
	net.Conn
	read []byte
}

// Read implements net.Conn.
func (c *peeked) Read(b []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.read)
	c.read = slices.Delete(c.read, 0, n)
	return n, nil
}

// sharedConn is a connection that may be given away. Then what is read is no longer bounded as
// requests of discovery are, and who has it sets the deadlines: grpc, which has the connection
// below, clears that of the handshake when it was given away already.
type sharedConn struct {
	net.Conn
	given atomic.Pointer[boundedConn]
}

// give gives the connection away. It counts no more among those of its address, which has thus
// its whole share for discovery: who has it has bounds of its own.
func (c *sharedConn) give() {
	if b, ok := c.Conn.(*boundedConn); ok {
		b.given.Store(true)
		b.uncount()
		_ = b.Conn.SetDeadline(time.Time{}) // who has it sees an error that matters
		c.given.Store(b)
	}
}

// Read implements net.Conn.
func (c *sharedConn) Read(b []byte) (int, error) {
	if below := c.given.Load(); below != nil {
		return below.Conn.Read(b)
	}
	return c.Conn.Read(b)
}

// SetDeadline implements net.Conn.
func (c *sharedConn) SetDeadline(t time.Time) error { return c.timed().SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *sharedConn) SetReadDeadline(t time.Time) error { return c.timed().SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *sharedConn) SetWriteDeadline(t time.Time) error { return c.timed().SetWriteDeadline(t) }

// timed returns the connection whose deadlines count.
func (c *sharedConn) timed() net.Conn {
	if below := c.given.Load(); below != nil {
		return below.Conn
	}
	return c.Conn
}
