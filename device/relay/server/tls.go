package server

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// recordHandshake is the first byte of a TLS connection: the type of the record.
const recordHandshake = 0x16

// NewListener returns a listener whose connections speak TLS or not, as the first byte that the
// client sends says. It is read when the connection is, so that Accept never waits for it.
func NewListener(l net.Listener, cfg *tls.Config) net.Listener { return &eitherListener{l, cfg} }

type eitherListener struct {
	net.Listener
	cfg *tls.Config
}

// Accept implements net.Listener.
func (l *eitherListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &either{Conn: conn, cfg: l.cfg}, nil
}

// either is a connection of which it is not known yet what it speaks. Nothing is written to it
// before something was read. Deadlines and Close are those of the connection below TLS.
type either struct {
	net.Conn
	cfg     *tls.Config // nil: the first byte was read
	secured atomic.Pointer[tls.Conn]
}

// Read implements net.Conn. It is called from one goroutine.
func (e *either) Read(b []byte) (int, error) {
	if t := e.secured.Load(); t != nil {
		return t.Read(b)
	}
	if e.cfg == nil || len(b) == 0 {
		return e.Conn.Read(b)
	}
	n, err := e.Conn.Read(b[:1])
	if n == 0 {
		return 0, err
	}
	cfg := e.cfg
	e.cfg = nil
	if b[0] != recordHandshake {
		return n, err
	}
	e.secured.Store(tls.Server(&begun{e.Conn, true}, cfg))
	return e.Read(b)
}

// Write implements net.Conn.
func (e *either) Write(b []byte) (int, error) {
	if t := e.secured.Load(); t != nil {
		return t.Write(b)
	}
	return e.Conn.Write(b)
}

// begun is a TLS connection of which the first byte was read.
type begun struct {
	net.Conn
	pending bool
}

// Read implements net.Conn.
func (c *begun) Read(b []byte) (int, error) {
	if !c.pending || len(b) == 0 {
		return c.Conn.Read(b)
	}
	c.pending = false
	b[0] = recordHandshake
	return 1, nil
}
