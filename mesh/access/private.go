//go:build !edge

package access

import (
	"context"
	"crypto/rand"
	"net"
)

// Private runs a proxy for one program, with a random password, on a port of the loopback
// interface until ctx is done. It calls ready when programs can connect.
func (s *Services) Private(ctx context.Context, ready func(Private)) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p := Private{l.Addr().String(), "wirespan", rand.Text()}
	ready(p)
	return s.runProxy(ctx, l, s.Reachable(), p.User, p.Password)
}
