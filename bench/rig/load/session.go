package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// test runs one test on its control connection.
func (s *Server) test(ctx context.Context, c net.Conn, t *test) error {
	ctx, cancel := context.WithTimeout(ctx, t.planned()+grace)
	defer cancel()
	id, ss, err := s.open(t, cancel)
	if err != nil {
		return err
	}
	defer func() {
		s.mu.Lock()
		delete(s.sessions, id)
		closeAll(ss.send, ss.receive)
		s.mu.Unlock()
	}()
	_ = c.SetDeadline(time.Now().Add(t.planned() + grace))
	if err := send(c, answer{Session: id}); err != nil {
		return err
	}
	var goAhead hello // its arrival is all that matters
	if err := receive(c, &goAhead); err != nil {
		return fmt.Errorf("waiting for the start: %w", err)
	}
	if t.UDP {
		if err := receive(c, &goAhead); err != nil {
			return fmt.Errorf("waiting for the end: %w", err)
		}
		return send(c, answer{Result: ss.udp.settled(ctx)})
	}
	select {
	case <-ss.ready:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the streams: %w", ctx.Err())
	}
	stop := s.endWithClient(c, cancel)
	r, err := ss.run(ctx)
	stop()
	if err != nil {
		return err
	}
	return send(c, answer{Result: r})
}

// endWithClient ends a test whose client has gone. The client says nothing
// while streams run, so that a read tells; stop returns once it has ended.
func (s *Server) endWithClient(c net.Conn, cancel context.CancelFunc) (stop func()) {
	done := make(chan struct{})
	stopping := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, c)
		select {
		case <-stopping:
		default:
			cancel()
		}
	}()
	return func() {
		close(stopping)
		_ = c.SetReadDeadline(time.Unix(1, 0))
		<-done
	}
}

// echo returns probes until the client ends.
func echo(c net.Conn) error {
	if err := send(c, answer{}); err != nil {
		return err
	}
	buf := make([]byte, 64*echoSize)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil // the client is done
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
	}
}
