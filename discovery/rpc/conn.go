package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
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
	transport http.RoundTripper
	close     func() error
	scheme    string
	address   string
	remote    net.Addr
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
	client, err := c.transport(conn).NewClientConn(ctx, scheme, c.Address)
	if err != nil {
		_ = conn.Close()
		return nil, failure(ctx, err)
	}
	return &Conn{client, client.Close, scheme, c.Address, remote}, nil
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

// transport returns the HTTP/2 client for one connection that is open already.
func (c *Config) transport(conn net.Conn) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(c.TLS != nil)
	protocols.SetUnencryptedHTTP2(c.TLS == nil)
	dial := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	return &http.Transport{
		DialContext:            dial,
		DialTLSContext:         dial,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderSize,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream:     streamBuffer,
			MaxReceiveBufferPerConnection: connectionBuffer,
			SendPingTimeout:               c.Ping,
			PingTimeout:                   pingTimeout,
			WriteByteTimeout:              writeTimeout,
		},
	}
}

// Close closes the connection. Calls under way end.
func (c *Conn) Close() error { return c.close() }

// RemoteAddr returns the address of the server, or of the proxy in front of it.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }
