package server

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// clients limits the requests per second and the open watches of each client
// address. IPv6 clients count by /64, since a single host can use as many
// addresses of its /64 as it likes.
//
// It tracks at most maxAddresses. All further addresses share one limit, as do
// clients without an IP address. So a flood from many addresses takes bounded
// memory and cannot displace the known clients.
type clients struct {
	mu   sync.Mutex
	seen map[netip.Prefix]*client
}

type client struct {
	limiter *rate.Limiter
	watches int // guarded by clients.mu
}

var (
	errRate    = status.Error(codes.ResourceExhausted, "rate limit exceeds request timeout")
	errWatches = status.Error(codes.ResourceExhausted, "too many watches from the client address")
)

func newClients() *clients { return &clients{seen: map[netip.Prefix]*client{}} }

// get returns the client of an address, which it creates if need be. The caller
// holds c.mu.
func (c *clients) get(addr netip.Addr) *client {
	key := clientKey(addr)
	if c.seen[key] == nil && len(c.seen) >= maxAddresses {
		key = netip.Prefix{}
	}
	cl := c.seen[key]
	if cl == nil {
		cl = &client{limiter: rate.NewLimiter(requestRate, requestBurst)}
		c.seen[key] = cl
	}
	return cl
}

// wait waits for a token of the address's rate limit. It fails at once if the wait
// would exceed ctx's deadline or maxWait.
func (c *clients) wait(ctx context.Context, addr netip.Addr) error {
	c.mu.Lock()
	limiter := c.get(addr).limiter
	c.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if err := limiter.Wait(bounded); err != nil {
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		return errRate
	}
	return nil
}

// watch counts a watch as open until release is called.
func (c *clients) watch(addr netip.Addr) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := c.get(addr)
	if cl.watches >= maxWatchersPerAddress {
		return nil, errWatches
	}
	cl.watches++
	return func() {
		c.mu.Lock()
		cl.watches--
		c.mu.Unlock()
	}, nil
}

// sweep forgets clients without watches whose rate limit has recovered.
func (c *clients) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, cl := range c.seen {
		if cl.watches == 0 && cl.limiter.TokensAt(now) >= requestBurst {
			delete(c.seen, key)
		}
	}
}

// clientKey returns the prefix by which an address is counted.
func clientKey(addr netip.Addr) netip.Prefix {
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // fails for the zero Addr, which then has the shared limit
	return p
}
