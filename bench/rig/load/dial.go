package load

import (
	"context"
	"fmt"
	"net"
	"time"
)

// connectTime bounds a connect: several repeated SYNs.
const connectTime = 10 * time.Second

// controlConn is a test's control connection, and the end of the test's context.
type controlConn struct {
	net.Conn
	close func()
}

// begin opens a test. The context that it returns ends when the test has taken
// much too long, and all connections of the test with it.
func (c *Client) begin(ctx context.Context, t *test) (context.Context, *controlConn, answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.planned()+grace,
		fmt.Errorf("the measurement did not end within %s", t.planned()+grace))
	conn, err := c.dial(ctx)
	if err != nil {
		cancel()
		return nil, nil, answer{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	control := &controlConn{conn, func() {
		stop()
		cancel()
		_ = conn.Close()
	}}
	a, err := ask(conn, hello{Test: t})
	if err != nil {
		control.close()
		return nil, nil, answer{}, err
	}
	return ctx, control, a, nil
}

// attach opens a stream of a session.
func (c *Client) attach(ctx context.Context, session uint64, down bool) (net.Conn, error) {
	conn, err := c.open(ctx, hello{Attach: session, Down: down})
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return conn, nil
}

// open dials and says hello.
func (c *Client) open(ctx context.Context, h hello) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(connectTime))
	if err := setCongestion(conn, c.Congestion); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if _, err := ask(conn, h); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return c.Dial(ctx, "tcp", c.Server)
}
