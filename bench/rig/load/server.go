package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// helloTime is how long a connection may take to say what it wants.
const helloTime = 5 * time.Second

// Limits bound what clients may make a server do.
type Limits struct {
	Tests   int           // at once
	Streams int           // of one test, in each direction
	Time    time.Duration // of one test, and of an echo connection
}

// DefaultLimits suit a server that others can reach.
func DefaultLimits() Limits {
	return Limits{Tests: 2, Streams: 128, Time: time.Minute}
}

func (l Limits) connections() int { return l.Tests * (2*l.Streams + 2) }

// Server is the far end of measurements. It takes over its sockets.
type Server struct {
	TCP    net.Listener
	UDP    net.PacketConn // nil: TCP only
	Limits Limits
	// Admit decides who may connect; nil: everyone whom the sockets reach.
	Admit func(netip.Addr) bool
	Log   hclog.Logger // nil discards

	mu       sync.Mutex // guards sessions
	sessions map[uint64]*session
}

// Serve answers until ctx ends, which is no error.
func (s *Server) Serve(ctx context.Context) error {
	if s.Log == nil {
		s.Log = hclog.NewNullLogger()
	}
	s.sessions = make(map[uint64]*session)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if s.UDP != nil {
		running.Go(func() {
			if err := s.receiveUDP(); err != nil && ctx.Err() == nil {
				s.Log.Warn("no more datagrams are measured", "error", err)
			}
		})
	}
	slots := make(chan struct{}, s.Limits.connections())
	for {
		c, err := s.TCP.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept measurements: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = c.Close() // more than all tests together need
			continue
		}
		running.Go(func() {
			defer func() { <-slots }()
			s.serve(ctx, c)
		})
	}
}

func (s *Server) close() {
	_ = s.TCP.Close()
	if s.UDP != nil {
		_ = s.UDP.Close()
	}
}

// serve answers one connection and closes it, unless it becomes a test's.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if !s.admitted(c) {
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Now().Add(helloTime))
	var h hello
	if err := receive(c, &h); err != nil { // a probe of the connect time, mostly
		_ = c.Close()
		return
	}
	attached, err := s.answer(ctx, c, h)
	if err != nil {
		s.Log.Debug("measurement", "client", c.RemoteAddr(), "error", err)
		_ = send(c, answer{Error: err.Error()})
	}
	if !attached {
		_ = c.Close()
	}
}

func (s *Server) admitted(c net.Conn) bool {
	if s.Admit == nil {
		return true
	}
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	return err == nil && s.Admit(from.Addr().Unmap().WithZone(""))
}

// answer does what h asks for; attached means that the connection is now owned
// by a session.
func (s *Server) answer(ctx context.Context, c net.Conn, h hello) (attached bool, err error) {
	switch {
	case h.Protocol != protocol:
		return false, fmt.Errorf("the client speaks %.40q, not %s: both sides must have the same version", h.Protocol, protocol)
	case h.Test != nil:
		return false, s.test(ctx, c, h.Test)
	case h.Attach != 0:
		return s.attach(ctx, c, h)
	case h.Echo:
		_ = c.SetDeadline(time.Now().Add(s.Limits.Time + grace))
		return false, echo(c)
	}
	return false, errors.New("nothing was asked for")
}

// session is a test under way.
type session struct {
	streams
	ready chan struct{}      // closed when all streams are attached
	end   context.CancelFunc // of the test
	udp   datagrams
}

func (s *Server) open(t *test, end context.CancelFunc) (uint64, *session, error) {
	l := s.Limits
	switch {
	case t.Up < 0 || t.Down < 0 || t.Up > l.Streams || t.Down > l.Streams || !t.UDP && t.Up+t.Down == 0:
		return 0, nil, fmt.Errorf("%d and %d streams: this server allows 1 to %d in each direction", t.Up, t.Down, l.Streams)
	case t.Warmup < 0 || t.Window <= 0 || t.Warmup > l.Time || t.Window > l.Time || t.planned() > l.Time:
		return 0, nil, fmt.Errorf("a test of %s: this server allows up to %s", t.planned(), l.Time)
	case t.UDP && s.UDP == nil:
		return 0, nil, errors.New("this server measures no UDP")
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

func (s *Server) attach(ctx context.Context, c net.Conn, h hello) (bool, error) {
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

// take adds a stream. What the client sends, this side receives.
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
