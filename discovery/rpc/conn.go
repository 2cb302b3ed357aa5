package rpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	// A server may send so much ahead of what is read.
	streamBuffer     = 256 << 10
	connectionBuffer = 1 << 20

	maxHeaderSize = 16 << 10

	pingTimeout  = 20 * time.Second // how long a server may take to answer a ping
	writeTimeout = 20 * time.Second // how long it may take no byte
)

// Config says where and how to connect.
type Config struct {
	Address string      // host:port
	TLS     *tls.Config // nil: plaintext; the server's name is set
	Timeout time.Duration
	Ping    time.Duration // a server that is silent for so long is pinged; zero: never
	Dial    func(ctx context.Context, address string) (net.Conn, error)
}

// Conn is a connection to a server.
type Conn struct {
	conn    net.Conn
	scheme  string
	address string
	remote  net.Addr
	tasks   sync.WaitGroup // reader and writer
	wake    chan struct{}  // the writer has something to do

	mu      sync.Mutex    // never held while waiting; guards what follows
	changed chan struct{} // closed by broadcast; nil if nobody waits
	err     error         // why the connection has ended
	away    *goAway       // why there are no more streams
	streams map[uint32]*Stream

	following uint32 // stream to be opened
	maximum   uint32 // of streams at a time, as the server says

	out           []byte // frames that the writer has not taken yet
	spare         []byte // its buffer for the next
	encoder       *hpack.Encoder
	block         bytes.Buffer // the encoder's
	sendWindow    int64        // of the connection
	initialWindow int64        // of a new stream, as the server says

	receiveWindow int // what the server may still send
	consumed      int // what it is not told yet that it may send again

	alive keepAlive
}

// Dial connects to a server. The error is an [Error], and wraps that of c.Dial or of the
// TLS handshake.
func Dial(ctx context.Context, c Config) (*Conn, error) {
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := c.Dial(limited, c.Address)
	if err != nil {
		return nil, failure(ctx, err)
	}
	remote, scheme := conn.RemoteAddr(), "http"
	if c.TLS != nil {
		scheme = "https"
		if conn, err = secure(limited, conn, c); err != nil {
			return nil, failure(ctx, err)
		}
	}
	client := newConn(conn)
	client.scheme, client.address, client.remote = scheme, c.Address, remote
	client.start(c.Ping)
	return client, nil
}

// secure does the TLS handshake. It closes the connection if that fails.
func secure(ctx context.Context, raw net.Conn, c Config) (net.Conn, error) {
	cfg := c.TLS.Clone()
	cfg.NextProtos = []string{"h2"}
	cfg.ServerName, _, _ = net.SplitHostPort(c.Address)
	conn := tls.Client(raw, cfg)
	err := conn.HandshakeContext(ctx)
	if err == nil && conn.ConnectionState().NegotiatedProtocol != "h2" {
		err = errors.New("the server does not speak HTTP/2")
	}
	if err == nil {
		return conn, nil
	}
	_ = raw.Close()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, errors.New("TLS handshake: no answer in time")
	case errors.Is(err, io.EOF):
		return nil, errors.New("TLS handshake: the server closed the connection")
	}
	return nil, fmt.Errorf("TLS handshake: %w", err)
}

func newConn(conn net.Conn) *Conn {
	c := &Conn{
		conn:          conn,
		wake:          make(chan struct{}, 1),
		streams:       map[uint32]*Stream{},
		following:     1,
		maximum:       1, // until the server says
		sendWindow:    defaultWindow,
		initialWindow: earlyWindow,
		receiveWindow: connectionBuffer,
	}
	c.encoder = hpack.NewEncoder(&c.block)
	return c
}

// start runs the reader and the writer until the connection ends.
func (c *Conn) start(ping time.Duration) {
	c.mu.Lock()
	c.out = appendStart(c.out)
	c.flush()
	c.keepAlive(ping)
	c.mu.Unlock()
	r := &reader{Conn: c, in: bufio.NewReaderSize(c.conn, maxFrame), decoder: hpack.NewDecoder(tableSize, nil)}
	c.tasks.Go(func() { c.end(r.run()) })
	c.tasks.Go(c.write)
}

// Close closes the connection. Calls under way end.
func (c *Conn) Close() error {
	c.end(net.ErrClosed)
	c.tasks.Wait()
	return nil
}

// RemoteAddr returns the address of the server, or of the proxy in front of it.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// end ends the connection and its streams. The server is told what it did wrong before
// the writer closes the connection; in all other cases that is done at once.
func (c *Conn) end(err error) {
	var wrong *violation
	broken := !errors.As(err, &wrong)
	c.mu.Lock()
	if c.err == nil {
		if c.away != nil && broken && !errors.Is(err, net.ErrClosed) {
			err = c.away
		}
		c.err = err
		if !broken {
			c.out = appendGoAway(c.out, wrong.code)
		}
		for _, s := range c.streams {
			c.remove(s, err)
		}
		c.alive.stop()
		c.broadcast()
		c.flush()
	}
	c.mu.Unlock()
	if broken {
		_ = c.conn.Close()
	}
}

// wait waits for a broadcast. c.mu is held before and after.
func (c *Conn) wait(ctx context.Context) error {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	changed := c.changed
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// broadcast wakes all who wait for room, a window, another stream's end or the end of the
// connection. c.mu is held.
func (c *Conn) broadcast() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}
