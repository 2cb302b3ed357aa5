package load

import (
	"context"
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
