package load

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// connectTime is the longest time for a connect. It leaves room for several SYNs.
const connectTime = 10 * time.Second

// Client runs tests with one server.
type Client struct {
	Dial       Dialer
	Server     netip.AddrPort
	Congestion string // TCP congestion control of kernel connections; empty: the system's
}

// TCP describes a test of streams. Each stream has one direction.
type TCP struct {
	Up, Down int           // streams to the server, and to the client
	Warmup   time.Duration // before Window, not measured
	Window   time.Duration // measured
	Rate     float64       // of all streams up together, bit/s; 0: as fast as possible
}

// TCPResult holds what the receivers got.
type TCPResult struct {
	Up, Down    float64 // goodput, bit/s
	Bytes       uint64  // in the whole test, both directions
	Retransmits uint64  // of all streams, in segments
	Counted     bool    // all streams reported their retransmits
}

// UDP describes a test of datagrams to the server.
type UDP struct {
	Payload  int // bytes
	Duration time.Duration
	Rate     float64 // bit/s of payload; 0: as fast as possible
}

// UDPResult holds what the server got.
type UDPResult struct {
	Sent, Received uint64  // datagrams
	Rate           float64 // received, bit/s of payload
	Packets        float64 // received per second
}

// Loss returns the share of datagrams that did not arrive.
func (r UDPResult) Loss() float64 {
	if r.Sent == 0 || r.Received >= r.Sent {
		return 0
	}
	return 1 - float64(r.Received)/float64(r.Sent)
}

// Connect measures how long a TCP connection takes to open.
func (c *Client) Connect(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	conn, err := c.dial(ctx)
	if err != nil {
		return 0, err
	}
	d := time.Since(start)
	return d, conn.Close()
}

// TCP runs a test of streams.
func (c *Client) TCP(ctx context.Context, t TCP) (TCPResult, error) {
	s := &streams{rate: t.Rate, receivers: newMeter(), test: test{
		Up: t.Up, Down: t.Down, Warmup: t.Warmup, Window: t.Window, Congestion: c.Congestion,
	}}
	ctx, control, answered, err := c.begin(ctx, &s.test)
	if err != nil {
		return TCPResult{}, err
	}
	defer control.close()
	defer func() { closeAll(s.send, s.receive) }()
	for i := range t.Up + t.Down {
		conn, err := c.attach(ctx, answered.Session, i >= t.Up)
		if err != nil {
			return TCPResult{}, fmt.Errorf("open stream %d of %d: %w", i+1, t.Up+t.Down, err)
		}
		if i < t.Up {
			s.send = append(s.send, conn)
		} else {
			s.receive = append(s.receive, conn)
		}
	}
	if err := send(control, hello{}); err != nil {
		return TCPResult{}, err
	}
	mine, err := s.run(ctx)
	if err != nil {
		return TCPResult{}, fmt.Errorf("TCP streams: %w", err)
	}
	theirs, err := await(control)
	if err != nil {
		return TCPResult{}, err
	}
	return TCPResult{
		Up: theirs.Result.bits(), Down: mine.bits(), Bytes: mine.Bytes + theirs.Result.Bytes,
		Retransmits: mine.Retransmits + theirs.Result.Retransmits,
		Counted:     (mine.Counted || t.Up == 0) && (theirs.Result.Counted || t.Down == 0),
	}, nil
}

// bits returns the goodput of the window in bit/s.
func (r result) bits() float64 {
	if r.Span <= 0 {
		return 0
	}
	return float64(r.Window) * 8 / r.Span.Seconds()
}

// UDP runs a test of datagrams.
func (c *Client) UDP(ctx context.Context, u UDP) (UDPResult, error) {
	ctx, control, answered, err := c.begin(ctx, &test{UDP: true, Window: u.Duration})
	if err != nil {
		return UDPResult{}, err
	}
	defer control.close()
	conn, err := c.Dial(ctx, "udp", c.Server)
	if err != nil {
		return UDPResult{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := send(control, hello{}); err != nil {
		return UDPResult{}, err
	}
	sent, err := blast(conn, answered.Session, u)
	if err != nil {
		return UDPResult{}, fmt.Errorf("send datagrams: %w", err)
	}
	if err := send(control, hello{}); err != nil {
		return UDPResult{}, err
	}
	a, err := await(control)
	if err != nil {
		return UDPResult{}, err
	}
	out := UDPResult{Sent: sent, Received: a.Result.Packets}
	// A burst can arrive faster than it was sent, but the whole test cannot.
	if span := max(a.Result.Span, u.Duration).Seconds(); span > 0 {
		out.Rate, out.Packets = float64(a.Result.Bytes)*8/span, float64(a.Result.Packets)/span
	}
	return out, nil
}

// controlConn is the control connection of a test.
type controlConn struct {
	net.Conn
	close func() // closes the connection and ends the test's context
}

// begin opens a test. The context that it returns ends when the test takes much
// too long; that closes the control connection.
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

// attach opens a stream of a session. down says that the server sends.
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

// open dials the server and sends a hello.
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
