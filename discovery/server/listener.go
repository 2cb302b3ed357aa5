package server

import (
	"net"
	"net/netip"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// boundedListener limits the open connections and closes further ones at once. It can close all of its connections: grpc can't stop
// while one of them has not finished the handshake, so a silent client could delay
// a shutdown.
type boundedListener struct {
	net.Listener
	log  hclog.Logger
	pool *pool

	mu    sync.Mutex
	conns map[*boundedConn]struct{}
}

type boundedConn struct {
	net.Conn
	lis    *boundedListener
	key    netip.Prefix
	closed sync.Once
}

func newBoundedListener(lis net.Listener, p *pool, log hclog.Logger) *boundedListener {
	return &boundedListener{Listener: lis, log: log, pool: p, conns: map[*boundedConn]struct{}{}}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		l.log.Debug("connection refused, too many are open", "address", conn.RemoteAddr().String())
		_ = conn.Close()
	}
}

// admit counts a connection, or returns nil if a limit is reached.
func (l *boundedListener) admit(conn net.Conn) net.Conn {
	key := clientKey(netAddr(conn.RemoteAddr()))
	if !l.pool.take(key, 1) {
		return nil
	}
	c := &boundedConn{Conn: conn, lis: l, key: key}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	return c
}

// closeConns closes every open connection.
func (l *boundedListener) closeConns() {
	l.mu.Lock()
	conns := make([]*boundedConn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// Close closes the connection. It may be called more than once.
func (c *boundedConn) Close() error {
	c.closed.Do(func() {
		c.lis.pool.put(c.key, 1)
		c.lis.mu.Lock()
		delete(c.lis.conns, c)
		c.lis.mu.Unlock()
	})
	return c.Conn.Close()
}
