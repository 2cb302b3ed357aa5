package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config is what a proxy is made of.
type Config struct {
	Network Network
	// User and Password are asked from clients, unless both are empty.
	User, Password string
	Limits         Limits
	Log            hclog.Logger // nothing is logged without
}

// Server is a proxy.
type Server struct {
	network     Network
	credentials credentials
	limits      Limits
	log         hclog.Logger
	counters    counters
	warned      atomic.Int64 // when a limit was logged last, Unix time
}

// New checks the configuration. It starts nothing.
func New(c Config) (*Server, error) {
	if c.Network == nil {
		return nil, errors.New("proxy: Network is required")
	}
	s := &Server{network: c.Network, log: c.Log}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	var err error
	if s.credentials, err = newCredentials(c.User, c.Password); err != nil {
		return nil, err
	}
	s.limits, err = c.Limits.withDefaults()
	return s, err
}

// service is one call of Serve.
type service struct {
	*Server
	listen net.Addr
	toWeb  handoff

	mu      sync.Mutex // guards stopped, and work against additions after that
	stopped bool
	work    sync.WaitGroup // goroutines, and connections of clients
}

// Serve serves the connections that l accepts until ctx ends, and returns when all have
// ended. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := &service{Server: s, listen: l.Addr(), toWeb: newHandoff(ctx, l.Addr())}
	transport := v.newTransport(ctx)
	web := v.newWebServer(ctx, transport)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	v.work.Go(func() { _ = web.Serve(v.toWeb) })

	err := v.accept(ctx, l)
	cancel()
	_ = l.Close()
	_ = web.Close()
	v.mu.Lock()
	v.stopped = true
	v.mu.Unlock()
	v.work.Wait()
	transport.CloseIdleConnections()
	return err
}

// begin counts a piece of work, if the service still runs. done must be called at its end.
func (v *service) begin() (done func(), ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stopped {
		return nil, false
	}
	v.work.Add(1)
	return v.work.Done, true
}

func (v *service) accept(ctx context.Context, l net.Listener) error {
	var pause time.Duration
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("proxy on %s: %w", v.listen, err)
		case err != nil: // out of descriptors or memory, or a client that is gone again
			pause = min(max(2*pause, 5*time.Millisecond), retryAccept)
			v.warn("cannot accept connections; trying again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		v.take(ctx, conn)
	}
}

// take starts to serve a connection, if there is room.
func (v *service) take(ctx context.Context, conn net.Conn) {
	if !takeSlot(&v.counters.open, v.limits.Connections) {
		v.counters.refused.Add(1)
		v.warn("too many connections; new ones are closed", "limit", v.limits.Connections)
		_ = conn.Close()
		return
	}
	v.counters.accepted.Add(1)
	v.work.Add(1) // accept is counted itself: Serve waits only after it
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c := &client{Conn: conn, release: sync.OnceFunc(func() {
		stop()
		_ = conn.Close()
		v.counters.open.Add(-1)
		v.work.Done()
	})}
	go v.serve(ctx, c)
}

// client is an accepted connection. release closes it and gives its slot back. Whoever
// serves the connection last calls it.
type client struct {
	net.Conn
	release func()
}

// serve finds out what a client speaks.
func (v *service) serve(ctx context.Context, c *client) {
	_ = c.SetDeadline(time.Now().Add(v.limits.Handshake))
	var first [1]byte
	if _, err := c.Read(first[:]); err != nil {
		c.release()
		return
	}
	switch b := first[0]; {
	case b == socks5Version:
		defer c.release()
		v.serveSOCKS(ctx, c)
	case b == socks4Version:
		defer c.release()
		v.log.Debug("client refused: it speaks SOCKS4; use SOCKS5", "client", c.RemoteAddr())
		v.refuse(c, socks4Rejected)
	case isToken(b):
		v.serveHTTP(c, b)
	default:
		defer c.release()
		v.log.Debug("client refused: it speaks neither SOCKS5 nor HTTP", "client", c.RemoteAddr(), "first", b)
	}
}

// refuse sends the last reply to a client.
func (v *service) refuse(c *client, reply []byte) {
	if _, err := c.Write(reply); err == nil {
		c.linger()
	}
}

// linger ends the direction to a client, and reads what it has still sent: closing a
// connection with unread data resets it, and a reset overtakes the last reply.
func (c *client) linger() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, c.Conn, drainBytes)
}

// warn logs what may happen for each connection, once in a while.
func (s *Server) warn(message string, args ...any) {
	now, last := time.Now().Unix(), s.warned.Load()
	if now-last >= int64(logPause/time.Second) && s.warned.CompareAndSwap(last, now) {
		s.log.Warn(message, args...)
	}
}
