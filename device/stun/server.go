package stun

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// Limits of a server.
const (
	// perAddress is the time between two answers to an address, on average: hundreds of
	// nodes may be behind one NAT, each of which asks every 25 s.
	perAddress   = 20 * time.Millisecond
	addressBurst = 100
	perServer    = time.Millisecond // between two answers, on average
	serverBurst  = 500
	// buckets is for how many addresses the server counts. Addresses with the same hash
	// share a limit.
	buckets = 4096
	// network6 is the size of the IPv6 network that counts as one address.
	network6 = 64
)

// Server answers binding requests. It remembers nothing of a client but when it may be
// answered again. A Server is not safe for concurrent use. Use NewServer.
type Server struct {
	seed    maphash.Seed
	start   time.Time
	all     meter
	clients [buckets]meter
}

// NewServer returns a server.
func NewServer(now time.Time) *Server {
	return &Server{seed: maphash.MakeSeed(), start: now}
}

// Answer returns the answer to a datagram; nil if there is none, since it is no binding
// request or too many came.
func (s *Server) Answer(now time.Time, b []byte, from netip.AddrPort) []byte {
	if !Is(b) || !IsRequest(b) || from.Port() == 0 || !s.admit(now.Sub(s.start), from.Addr()) {
		return nil
	}
	m, err := Parse(b)
	if err != nil {
		return nil
	}
	return appendAnswer(nil, &m, from)
}

func (s *Server) admit(now time.Duration, from netip.Addr) bool {
	key := from.Unmap().WithZone("")
	if p, err := key.Prefix(network6); key.Is6() && err == nil {
		key = p.Addr()
	}
	bytes := key.As16()
	client := &s.clients[maphash.Bytes(s.seed, bytes[:])%buckets]
	return client.admit(now, perAddress, addressBurst) && s.all.admit(now, perServer, serverBurst)
}

// meter is the time until which the answers of a client are used up, as GCRA counts it.
type meter time.Duration

func (m *meter) admit(now, interval time.Duration, burst int) bool {
	next := max(time.Duration(*m), now)
	if next-now > time.Duration(burst-1)*interval {
		return false
	}
	*m = meter(next + interval)
	return true
}
