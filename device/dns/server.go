package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	wire "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
)

// TTL is how long records of the mesh, and the lack of them, may be cached.
const TTL = 5 * time.Second

// Zone is the names of nodes at one moment.
type Zone interface {
	Domain() string       // in lower case, without a final dot
	Subnet() netip.Prefix // the mesh's network; invalid: none yet
	// Lookup returns the addresses of a name in the domain, and whether it exists. Case and a
	// final dot don't matter.
	Lookup(name string) ([]netip.Addr, bool)
	Reverse(addr netip.Addr) string // without a final dot; empty: no node has the address
}

// Config is what a Server is made of.
type Config struct {
	Zone    func() Zone               // called for each query
	Allowed func(src netip.Addr) bool // whether a source gets answers; called for each query
	// Owner returns as whom a source is counted, so that a peer with many addresses has no more
	// than others; nil: each address for itself.
	Owner     func(src netip.Addr) netip.Addr
	Upstreams func() []netip.AddrPort // resolvers, the preferred one first; nil, or none: queries outside the mesh are refused
	// Dial connects to upstreams; nil: by the host's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Server answers DNS queries. Make one with [New].
type Server struct {
	cfg     Config
	limits  *limits
	flights singleflight.Group
	good    atomic.Int64 // index of the upstream that answered last
	zones   atomic.Pointer[zones]
	counts  struct{ queries, dropped, forwarded, failed atomic.Uint64 }

	mu  sync.Mutex
	own map[netip.AddrPort]int // listening addresses of the running Serves
}

// Stats counts queries since the server was made.
type Stats struct {
	Queries   uint64 // of admitted sources, whatever became of them
	Dropped   uint64 // of other sources, and beyond the rate or the limit of connections
	Forwarded uint64 // to upstreams
	Failed    uint64 // of those, without an answer
}

// New checks the configuration and starts nothing.
func New(c Config) (*Server, error) {
	if c.Zone == nil || c.Allowed == nil {
		return nil, errors.New("dns: Zone and Allowed are required")
	}
	if c.Upstreams == nil {
		c.Upstreams = func() []netip.AddrPort { return nil }
	}
	if c.Owner == nil {
		c.Owner = func(src netip.Addr) netip.Addr { return src }
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	return &Server{cfg: c, limits: newLimits(), own: map[netip.AddrPort]int{}}, nil
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{s.counts.queries.Load(), s.counts.dropped.Load(), s.counts.forwarded.Load(), s.counts.failed.Load()}
}

// Serve answers queries that come by a packet socket and by a listener, until ctx is done or
// one of them fails. It closes both. Several calls may run at once; limits are for all
// together.
func (s *Server) Serve(ctx context.Context, packets net.PacketConn, listener net.Listener) error {
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	defer s.listen(packets.LocalAddr())()
	defer s.listen(listener.Addr())()
	defer context.AfterFunc(ctx, func() { _, _ = packets.Close(), listener.Close() })()
	g.Go(func() error { return s.servePackets(ctx, packets) })
	g.Go(func() error { return s.serveStreams(ctx, listener) })
	if err := g.Wait(); outer.Err() == nil {
		return err
	}
	return nil
}

// listen remembers an address of this server until the returned function is called.
func (s *Server) listen(addr net.Addr) func() {
	ap := addrPort(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[ap]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.own[ap]--; s.own[ap] == 0 {
			delete(s.own, ap)
		}
	}
}

// isOwn reports whether this server listens on an address. Unspecified addresses stand for the
// loopback ones.
func (s *Server) isOwn(ap netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own[ap] > 0 || ap.Addr().IsLoopback() &&
		s.own[netip.AddrPortFrom(netip.IPv6Unspecified(), ap.Port())]+s.own[netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port())] > 0
}

// addrPort returns the address of a socket; invalid if it is none of IP.
func addrPort(addr net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := addr.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// admits reports whether a source may ask now.
func (s *Server) admits(src netip.Addr) bool {
	if !src.IsValid() || !s.cfg.Allowed(src) || !s.limits.rate(s.cfg.Owner(src)) {
		s.counts.dropped.Add(1)
		return false
	}
	s.counts.queries.Add(1)
	return true
}

// servePackets answers what can be answered at once before it reads on. For other queries it
// starts goroutines, and returns when they have ended.
func (s *Server) servePackets(ctx context.Context, packets net.PacketConn) error {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, out := make([]byte, maxQuery), make([]byte, wire.MaxMsgSize)
	for {
		n, from, err := packets.ReadFrom(in)
		if err != nil {
			return fmt.Errorf("DNS queries by UDP at %v: %w", packets.LocalAddr(), err)
		}
		src := addrPort(from).Addr()
		if !s.admits(src) {
			continue
		}
		q, reply := s.read(in[:n])
		if q != nil && reply == nil {
			done := s.limits.waiting.take(s.cfg.Owner(src))
			if done != nil {
				waiting.Go(func() {
					defer done()
					sendPacket(packets, from, s.forward(ctx, q), q.packetSize(), nil)
				})
				continue
			}
			reply = q.fail(wire.RcodeServerFailure)
		}
		sendPacket(packets, from, reply, q.packetSize(), out)
	}
}

// sendPacket sends a reply, if there is one. What can't be sent is lost, as any packet may be.
func sendPacket(packets net.PacketConn, to net.Addr, reply *wire.Msg, size int, buf []byte) {
	if b := encode(reply, size, buf); b != nil {
		_, _ = packets.WriteTo(b, to)
	}
}
