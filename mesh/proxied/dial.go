package proxied

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"

	"golang.org/x/net/proxy"
)

// DialFunc connects to host:port, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Dial connects to addr by TCP through a proxy, to which direct connects. Errors name the proxy,
// and hide its password.
func Dial(ctx context.Context, direct DialFunc, via *url.URL, addr string) (net.Conn, error) {
	conn, err := dial(ctx, direct, via, addr)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", via.Redacted(), err)
	}
	return conn, nil
}

func dial(ctx context.Context, direct DialFunc, via *url.URL, addr string) (net.Conn, error) {
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

// Dial makes a DialFunc what the SOCKS client takes.
func (f DialFunc) Dial(network, addr string) (net.Conn, error) {
	return f(context.Background(), network, addr)
}

// DialContext calls f.
func (f DialFunc) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return f(ctx, network, addr)
}

func hostPort(u *url.URL, port string) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}
