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

// clients bounds what one client address can ask for: requests per second and
// open watches. IPv6 clients count by /64, since a single host has as many
// addresses there as it likes.
//
// At most maxAddresses are tracked. Those beyond share one limit, as do
// clients without an IP address: a flood from many addresses costs bounded
// memory and cannot push out the clients that are known.
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

// get must be called with c.mu held.
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

// wait takes a token, as soon as there is one. It fails at once if that would
// be after ctx's deadline, or after maxWait.
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

// watch counts one watch until release is called.
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

// sweep forgets the clients that nothing needs to be remembered of.
func (c *clients) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, cl := range c.seen {
		if cl.watches == 0 && cl.limiter.TokensAt(now) >= requestBurst {
			delete(c.seen, key)
		}
	}
}

func clientKey(addr netip.Addr) netip.Prefix {
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // fails for the zero Addr, which gets the shared limit
	return p
}
