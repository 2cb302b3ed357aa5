package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Client measures towards one server.
type Client struct {
	Dial       Dialer
	Server     netip.AddrPort
	Congestion string // TCP congestion control of kernel connections; empty: the system's
}

// TCP describes a test of streams, each in one direction.
type TCP struct {
	Up, Down int
	Warmup   time.Duration // what comes before Window isn't measured
	Window   time.Duration
	Rate     float64 // of all streams up; bit/s, 0: as fast as possible
}

// TCPResult is what receivers got.
type TCPResult struct {
	Up, Down    float64 // goodput, bit/s
	Bytes       uint64  // in the whole test, both directions
	Retransmits uint64
	Counted     bool // Retransmits is known of all streams
}

// UDP describes a test of datagrams to the server.
type UDP struct {
	Payload  int // bytes
	Duration time.Duration
	Rate     float64 // bit/s of payload; 0: as fast as possible
}

// UDPResult is what the server got.
type UDPResult struct {
	Sent, Received uint64
	Rate           float64 // received, bit/s of payload
	Packets        float64 // received per second
}

// Loss is the share of datagrams that did not arrive.
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
	// A burst may leave the network faster than it was sent, never the whole test.
	if span := max(a.Result.Span, u.Duration).Seconds(); span > 0 {
		out.Rate, out.Packets = float64(a.Result.Bytes)*8/span, float64(a.Result.Packets)/span
	}
	return out, nil
}

// RTT sends probes at an interval for a time, whether or not the last one has
// come back, and returns the round trips in ascending order. They are on TCP:
// a probe that is lost comes late.
func (c *Client) RTT(ctx context.Context, interval, d time.Duration) ([]time.Duration, error) {
	conn, err := c.open(ctx, hello{Echo: true})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(d + grace))
	probes := max(1, int(d/interval))
	start := time.Now()
	sending := make(chan error, 1)
	go func() {
		var probe [echoSize]byte
		for i := range probes {
			time.Sleep(time.Until(start.Add(time.Duration(i) * interval)))
			binary.BigEndian.PutUint64(probe[:], uint64(time.Since(start)))
			if _, err := conn.Write(probe[:]); err != nil {
				sending <- err
				return
			}
		}
		sending <- nil
	}()
	trips, err := roundTrips(conn, start, probes)
	_ = conn.Close()
	if sendErr := <-sending; err == nil {
		err = sendErr
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("round trips: %w", err)
	}
	slices.Sort(trips)
	return trips, nil
}

// roundTrips reads probes that came back.
func roundTrips(conn net.Conn, start time.Time, probes int) ([]time.Duration, error) {
	trips := make([]time.Duration, 0, probes)
	buf, held := make([]byte, 64*echoSize), 0
	for len(trips) < probes {
		n, err := conn.Read(buf[held:])
		if err != nil {
			return nil, err
		}
		now := time.Since(start)
		whole := buf[:held+n]
		for len(whole) >= echoSize {
			trip := now - time.Duration(binary.BigEndian.Uint64(whole))
			if trip < 0 || trip > now {
				return nil, errors.New("a probe came back changed")
			}
			trips = append(trips, trip)
			whole = whole[echoSize:]
		}
		held = copy(buf, whole)
	}
	return trips, nil
}
