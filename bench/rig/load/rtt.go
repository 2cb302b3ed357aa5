package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// RTT sends probes at an interval for the time d, without waiting for those that
// are under way, and returns the round trips in ascending order. Probes use TCP,
// so that a lost one arrives late.
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

// roundTrips reads probes as they come back and returns their round trips.
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
				return nil, errors.New("a probe came back with another time")
			}
			trips = append(trips, trip)
			whole = whole[echoSize:]
		}
		held = copy(buf, whole)
	}
	return trips, nil
}

// echo is the server's side: it sends probes back until the client closes.
func echo(c net.Conn) error {
	if err := send(c, answer{}); err != nil {
		return err
	}
	buf := make([]byte, 64*echoSize)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil // the client has closed
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
	}
}
