package service

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh/proxied"
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
		via, err := proxied.For(addr)
		if err != nil {
			return nil, err
		}
		if via == nil {
			return direct.DialContext(ctx, "tcp", addr)
		}
		return proxied.Dial(ctx, direct.DialContext, via, addr)
	}
}
