package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	wire "github.com/miekg/dns"
)

// serveStreams accepts connections. It returns when all of them have ended.
func (s *Server) serveStreams(ctx context.Context, listener net.Listener) error {
	const pause = 100 * time.Millisecond // while the process has too many files
	var open sync.WaitGroup
	defer open.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		case err != nil:
			return fmt.Errorf("DNS queries by TCP at %v: %w", listener.Addr(), err)
		}
		src := addrPort(conn.RemoteAddr()).Addr()
		var done func()
		if src.IsValid() && s.cfg.Allowed(src) {
			done = s.limits.streams.take(s.cfg.Owner(src))
		}
		if done == nil {
			s.counts.dropped.Add(1)
			_ = conn.Close()
			continue
		}
		open.Go(func() {
			defer done()
			s.serveStream(ctx, conn, src)
		})
	}
}

// stream is a connection. Replies to pipelined queries may come in another order (RFC 7766 §7).
type stream struct {
	net.Conn
	mu sync.Mutex // of writes
}

// serveStream answers the queries of a connection until that is idle, fails, or exceeds the
// source's rate. A client may close its half after its last query.
func (s *Server) serveStream(ctx context.Context, conn net.Conn, src netip.Addr) {
	open, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(open, func() { _ = conn.Close() })()
	st := &stream{Conn: conn}
	var waiting sync.WaitGroup
	err := s.readStream(open, st, src, func(q *query, done func()) {
		waiting.Go(func() {
			defer done()
			// Goes on when this client is gone: others may wait for the same answer.
			if st.write(s.forward(ctx, q)) != nil {
				cancel()
			}
		})
	})
	if !errors.Is(err, io.EOF) {
		cancel()
	}
	waiting.Wait()
	cancel()
	_ = conn.Close()
}

// readStream reads queries. It calls wait for those that have to wait for an upstream.
func (s *Server) readStream(ctx context.Context, st *stream, src netip.Addr, wait func(q *query, done func())) error {
	places := make(chan struct{}, maxPipelined)
	buf := make([]byte, maxQuery)
	for {
		in, err := st.read(buf)
		if err != nil {
			return err
		}
		if !s.admits(src) {
			return fmt.Errorf("more than %d queries per second", maxRate)
		}
		q, reply := s.read(in)
		if q == nil && reply == nil {
			return errors.New("no query")
		}
		if reply == nil {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			if done := s.limits.waiting.take(s.cfg.Owner(src)); done != nil {
				wait(q, func() { done(); <-places })
				continue
			}
			<-places
			reply = q.fail(wire.RcodeServerFailure)
		}
		if err := st.write(reply); err != nil {
			return err
		}
	}
}

// read reads a message of at most the size of buf.
func (s *stream) read(buf []byte) ([]byte, error) {
	if err := s.SetReadDeadline(time.Now().Add(streamIdle)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(s, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > len(buf) {
		return nil, fmt.Errorf("message of %d bytes: at most %d", n, len(buf))
	}
	_, err := io.ReadFull(s, buf[:n])
	return buf[:n], err
}

// write writes a message. A client that does not read loses the connection.
func (s *stream) write(m *wire.Msg) error {
	b := encode(m, wire.MaxMsgSize, nil)
	if b == nil {
		return errors.New("the reply can't be encoded")
	}
	b = append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b))), b...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	_, err := s.Write(b)
	return err
}
