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

// helloTime is how long a connection may take to send its hello.
const helloTime = 5 * time.Second

// Limits bound what clients may ask of a server.
type Limits struct {
	Tests   int           // at the same time
	Streams int           // of one test, in each direction
	Time    time.Duration // of one test, and of an echo connection
}

// DefaultLimits returns limits for a server that other machines can reach.
func DefaultLimits() Limits {
	return Limits{Tests: 2, Streams: 128, Time: time.Minute}
}

// connections returns the most connections that all tests together need.
func (l Limits) connections() int { return l.Tests * (2*l.Streams + 2) }

// Server is the far end of measurements.
type Server struct {
	TCP    net.Listener
	UDP    net.PacketConn // nil: TCP only
	Limits Limits
	// Admit reports whether an address may connect. Nil admits all addresses.
	Admit func(netip.Addr) bool
	Log   hclog.Logger // nil discards

	mu       sync.Mutex // guards sessions
	sessions map[uint64]*session
}

// Serve serves until ctx ends, which is not an error. It may be called once.
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
			if err := s.receiveUDP(); ctx.Err() == nil {
				s.Log.Warn("UDP measurements have stopped", "error", err)
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
			_ = c.Close() // more connections than all tests together need
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

// serve serves one connection. It closes it, unless it is a stream of a session.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if !s.admitted(c) {
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Now().Add(helloTime))
	var h hello
	if err := receive(c, &h); err != nil { // mostly Client.Connect, which sends none
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

// answer does what h asks for. attached reports that a session owns the connection
// now.
func (s *Server) answer(ctx context.Context, c net.Conn, h hello) (attached bool, err error) {
	switch {
	case h.Protocol != protocol:
		return false, fmt.Errorf("the client speaks %.40q, not %s: both sides must have the same version", h.Protocol, protocol)
	case h.Test != nil:
		return false, s.test(ctx, c, h.Test)
	case h.Attach != 0:
		return s.attach(c, h)
	case h.Echo:
		_ = c.SetDeadline(time.Now().Add(s.Limits.Time + grace))
		return false, echo(c)
	}
	return false, errors.New("the hello asks for nothing")
}
