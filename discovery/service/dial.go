package service

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"time"

	"golang.org/x/net/proxy"
)

type dialFunc func(ctx context.Context, addr string) (net.Conn, error)

// connectTimeout returns the time limit of one connection attempt. It is shorter if
// there are other endpoints, so that one that does not answer delays them less.
func connectTimeout(endpoints int) time.Duration {
	if endpoints > 1 {
		return 3 * time.Second
	}
	return 8 * time.Second
}

// newDialer returns a function that dials directly or through the proxy of the
// environment variables.
func newDialer(control func(network, address string, c syscall.RawConn) error, timeout time.Duration) dialFunc {
	direct := &net.Dialer{Control: control, Timeout: timeout}
	if control != nil { // DNS look-ups need the mark too
		direct.Resolver = &net.Resolver{PreferGo: true, Dial: (&net.Dialer{Control: control}).DialContext}
	}
	return func(ctx context.Context, addr string) (net.Conn, error) {
		via, err := proxyFor(addr)
		if err != nil {
			return nil, err
		}
		if via == nil {
			return direct.DialContext(ctx, "tcp", addr)
		}
		conn, err := dialVia(ctx, direct, via, addr)
		if err != nil {
			return nil, fmt.Errorf("proxy %s: %w", via.Redacted(), err)
		}
		return conn, nil
	}
}

func dialVia(ctx context.Context, direct *net.Dialer, via *url.URL, addr string) (net.Conn, error) {
	switch via.Scheme {
	case "socks5", "socks5h":
		var auth *proxy.Auth
		if via.User != nil {
			password, _ := via.User.Password()
			auth = &proxy.Auth{User: via.User.Username(), Password: password}
		}
		d, err := proxy.SOCKS5("tcp", hostPort(via, "1080"), auth, direct)
		if err != nil {
			return nil, err
		}
		return d.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
	case "http", "https":
		return dialCONNECT(ctx, direct, via, addr)
	default:
		return nil, fmt.Errorf("scheme %q is not supported", via.Scheme)
	}
}

func hostPort(u *url.URL, port string) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}
