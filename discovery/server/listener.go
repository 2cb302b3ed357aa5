package server

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// boundedListener limits the open connections and closes further ones at once. It limits
// how fast it reads what an address sends, over all of its connections: thus also what
// never becomes a request costs an address its share.
//
// It can close all of its connections: grpc can't stop while one of them has not finished
// the handshake, so a silent client could delay a shutdown.
type boundedListener struct {
	net.Listener
	log     hclog.Logger
	pool    *pool
	clients *clients // nil: a proxy is the one client, and limits by itself

	mu    sync.Mutex
	conns map[*boundedConn]struct{}
}

type boundedConn struct {
	net.Conn
	lis    *boundedListener
	key    netip.Prefix
	closed chan struct{}
	close  sync.Once
	count  sync.Once   // it counts no more
	given  atomic.Bool // to those that share the port: its deadlines are theirs
}

func newBoundedListener(lis net.Listener, p *pool, c *clients, log hclog.Logger) *boundedListener {
	return &boundedListener{Listener: lis, log: log, pool: p, clients: c, conns: map[*boundedConn]struct{}{}}
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
	if l.limits(key) && l.clients.spend(key, connectionCost, time.Now()) > maxDebt {
		l.pool.put(key, 1)
		return nil
	}
	c := &boundedConn{Conn: conn, lis: l, key: key, closed: make(chan struct{})}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	return c
}

// limits reports whether what an address sends is limited.
func (l *boundedListener) limits(key netip.Prefix) bool { return l.clients != nil && key.IsValid() }

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

var errDebt = errors.New("the client address has sent too much")

// Read reads, and then waits until the address may send more.
func (c *boundedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil || !c.lis.limits(c.key) {
		return n, err
	}
	wait := c.lis.clients.spend(c.key, n, time.Now())
	switch {
	case wait == 0:
		return n, nil
	case wait > maxDebt:
		return 0, errDebt
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return n, nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

// SetDeadline sets the deadlines of a connection that is not given away.
func (c *boundedConn) SetDeadline(t time.Time) error {
	if c.given.Load() {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

// uncount gives back the connection's part of the pool.
func (c *boundedConn) uncount() { c.count.Do(func() { c.lis.pool.put(c.key, 1) }) }

// Close closes the connection. It may be called more than once.
func (c *boundedConn) Close() error {
	c.close.Do(func() {
		close(c.closed)
		c.uncount()
		c.lis.mu.Lock()
		delete(c.lis.conns, c)
		c.lis.mu.Unlock()
	})
	return c.Conn.Close()
}
