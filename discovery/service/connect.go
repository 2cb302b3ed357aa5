package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/discovery/rpc"
	"github.com/wirespan/wirespan/mesh"
)

const (
	helloTimeout = 10 * time.Second
	maxRedirects = 3 // in a row
)

// connection is an open connection after Hello.
type connection struct {
	rpc      cluster
	endpoint string     // after redirects
	remote   netip.Addr // of the server, or of the proxy in front of it
	public   netip.Addr // of this host, as the server sees it; zero if it did not say
}

func (c *connection) Close() error { return c.rpc.Close() }

// connect connects to endpoint, follows redirects and sends Hello.
func (c *Client) connect(ctx context.Context, endpoint string) (*connection, error) {
	for range maxRedirects + 1 {
		server, hello, err := c.hello(ctx, endpoint)
		if err != nil {
			return nil, fmt.Errorf("discovery service %s: %w", endpoint, rpcError("hello", err))
		}
		if !hello.redirects {
			conn := &connection{rpc: server, endpoint: endpoint}
			if tcp, ok := server.RemoteAddr().(*net.TCPAddr); ok {
				conn.remote = tcp.AddrPort().Addr().Unmap()
			}
			// An address that does not parse counts as unknown.
			conn.public, _ = codec.ParseAddr(hello.clientIP)
			return conn, nil
		}
		_ = server.Close()
		target := hello.redirect
		if err := checkEndpoint(target); err != nil {
			return nil, fmt.Errorf("discovery service %s: redirect: %w", endpoint, err)
		}
		if !c.allowed(endpoint, target) {
			return nil, fmt.Errorf("discovery service %s: it redirects to %s, another host, which neither the join token nor the configuration names: configure that as the endpoint if it is right", endpoint, target)
		}
		c.log.Debug("redirected", "from", endpoint, "to", target)
		endpoint = target
	}
	return nil, fmt.Errorf("discovery service %s: redirected more than %d times in a row", endpoint, maxRedirects)
}

// allowed reports whether a server may redirect to target: to an endpoint that is
// configured, or to another port of its own or a configured host.
func (c *Client) allowed(from, target string) bool {
	host, _, _ := net.SplitHostPort(target)
	return slices.ContainsFunc(append([]string{from}, c.cfg.Endpoints...), func(e string) bool {
		known, _, _ := net.SplitHostPort(e)
		return strings.EqualFold(known, host)
	})
}

func (c *Client) hello(ctx context.Context, endpoint string) (cluster, helloAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	cfg := rpc.Config{Address: endpoint, Timeout: connectTimeout(len(c.cfg.Endpoints)), Ping: max(10*time.Second, c.cfg.TTL/10), Dial: c.dial}
	if !c.cfg.Insecure {
		cfg.TLS = tlsConfig(c.cfg.Pin)
	}
	conn, err := rpc.Dial(ctx, cfg)
	if err != nil {
		return cluster{}, helloAnswer{}, err
	}
	server := cluster{conn}
	answer, err := server.hello(ctx, c.cfg.DiscoveryID, c.cfg.ClientVersion)
	if err != nil {
		_ = server.Close()
	}
	return server, answer, err
}

// Delete removes this node from the service over a separate connection. If last is
// signed, it takes the place of the entry instead, until its time ends. Run then
// publishes nothing until the next [Client.Publish]. Delete tries each endpoint once. An
// update that Run is sending may arrive after the deletion: stop Run first to leave for
// good.
func (c *Client) Delete(ctx context.Context, last mesh.Affiliate) error {
	var data []byte
	if last.Record.Signed() {
		var err error
		if data, _, err = c.seal(last); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.local, c.snap.Published = nil, false
	endpoints := []string{c.endpoint}
	c.mu.Unlock()
	for _, e := range c.cfg.Endpoints {
		if !slices.Contains(endpoints, e) {
			endpoints = append(endpoints, e)
		}
	}
	var errs []error
	for _, e := range endpoints {
		err := c.deleteAt(ctx, e, data)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("delete own affiliate: %w", errors.Join(errs...))
}

// deleteAt replaces this node's entry with data or, without data, deletes it.
func (c *Client) deleteAt(ctx context.Context, endpoint string, data []byte) error {
	conn, err := c.connect(ctx, endpoint)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	if data != nil {
		err = conn.rpc.update(ctx, update{clusterID: c.cfg.DiscoveryID, affiliateID: c.cfg.AffiliateID, data: data, ttl: c.cfg.TTL})
	} else {
		err = conn.rpc.remove(ctx, c.cfg.DiscoveryID, c.cfg.AffiliateID)
	}
	if err != nil {
		return fmt.Errorf("discovery service %s: %w", conn.endpoint, rpcError("delete", err))
	}
	return nil
}

// rpcError returns an error with the failed operation, the gRPC code and the reason. The
// reason may be the server's text, is untrusted and is cut to one printable line.
func rpcError(doing string, err error) error {
	var failed *rpc.Error
	if !errors.As(err, &failed) {
		return fmt.Errorf("%s: %s", doing, clean(err.Error()))
	}
	if failed.Code == rpc.DeadlineExceeded {
		return fmt.Errorf("%s: %v: no answer in time", doing, failed.Code)
	}
	message := failed.Message
	if _, reason, ok := strings.Cut(message, ": connect: "); ok { // what the dialer puts around it
		message = reason
	}
	err = fmt.Errorf("%s: %v: %s", doing, failed.Code, clean(message))
	if failed.Code == rpc.PermissionDenied {
		return refusal{err}
	}
	return err
}

func clean(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), 300)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
