package service

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/http/httpproxy"
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
// environment variables. It takes the place of net/http's proxy support, which has plaintext
// HTTP/2 through no proxy.
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

// proxyFor returns the proxy for addr, or nil for a direct connection. Loopback addresses
// are always dialled directly.
func proxyFor(addr string) (*url.URL, error) {
	env := httpproxy.FromEnvironment()
	env.HTTPSProxy = cmp.Or(env.HTTPSProxy, os.Getenv("ALL_PROXY"), os.Getenv("all_proxy"))
	via, err := env.ProxyFunc()(&url.URL{Scheme: "https", Host: addr})
	if err != nil { // the text of err may contain a password
		return nil, errors.New("proxy environment variable is not a URL")
	}
	return via, nil
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

// dialCONNECT opens a tunnel through an HTTP proxy (RFC 9110 §9.3.6).
func dialCONNECT(ctx context.Context, direct *net.Dialer, via *url.URL, addr string) (_ net.Conn, err error) {
	port := "80"
	if via.Scheme == "https" {
		port = "443"
	}
	raw, err := direct.DialContext(ctx, "tcp", hostPort(via, port))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = raw.Close()
		}
	}()
	conn := raw
	if via.Scheme == "https" {
		conn = tls.Client(raw, &tls.Config{ServerName: via.Hostname(), MinVersion: tls.VersionTLS12})
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if via.User != nil {
		password, _ := via.User.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(via.User.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, fmt.Errorf("answer to CONNECT: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("CONNECT %s: %s", addr, resp.Status)
	}
	return &bufferedConn{Conn: conn, r: r}, nil
}

// bufferedConn first returns the bytes that were read together with the proxy's answer.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

func hostPort(u *url.URL, port string) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}
