package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// session is a test that is running.
type session struct {
	streams
	ready chan struct{}      // closed when all streams are attached
	end   context.CancelFunc // ends the test
	udp   datagrams
}

// open checks a test and creates its session.
func (s *Server) open(t *test, end context.CancelFunc) (uint64, *session, error) {
	l := s.Limits
	switch {
	case t.Up < 0 || t.Down < 0 || t.Up > l.Streams || t.Down > l.Streams || !t.UDP && t.Up+t.Down == 0:
		return 0, nil, fmt.Errorf("%d and %d streams: this server allows 1 to %d in each direction", t.Up, t.Down, l.Streams)
	case t.Warmup < 0 || t.Window <= 0 || t.Warmup > l.Time || t.Window > l.Time || t.planned() > l.Time:
		return 0, nil, fmt.Errorf("a test of %s: this server allows up to %s", t.planned(), l.Time)
	case t.UDP && s.UDP == nil:
		return 0, nil, errors.New("this server does not measure UDP")
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	id := binary.BigEndian.Uint64(b[:]) | 1
	ss := &session{ready: make(chan struct{}), end: end, streams: streams{test: *t, receivers: newMeter()}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= l.Tests {
		return 0, nil, errors.New("the server is busy with other measurements")
	}
	s.sessions[id] = ss
	return id, ss, nil
}

// attach adds a connection to its session.
func (s *Server) attach(c net.Conn, h hello) (attached bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[h.Attach]
	if ss == nil {
		return false, errors.New("no such test")
	}
	if err := ss.take(c, h.Down); err != nil {
		return false, err
	}
	_ = c.SetDeadline(time.Now().Add(ss.test.planned() + grace))
	if err := send(c, answer{}); err != nil {
		ss.end()
	}
	if len(ss.send) == ss.test.Down && len(ss.receive) == ss.test.Up {
		close(ss.ready)
	}
	return true, nil
}

// take adds a stream. down says that this side sends.
func (ss *session) take(c net.Conn, down bool) error {
	list, limit := &ss.receive, ss.test.Up
	if down {
		list, limit = &ss.send, ss.test.Down
		if err := setCongestion(c, ss.test.Congestion); err != nil {
			return err
		}
	}
	if len(*list) == limit {
		return errors.New("the test has all its streams")
	}
	*list = append(*list, c)
	return nil
}

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
	var goAhead hello // an empty message: its arrival counts
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

// endWithClient cancels a test whose client has closed the control connection. The
// client sends nothing on it while streams run, so a read returns only then. stop
// ends the watch and waits for it.
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
