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

// clients limits the requests per second of each client address. IPv6 clients count
// by /64, since a single host can use as many addresses of its /64 as it likes.
//
// It tracks at most maxAddresses. All further addresses share one limit, as do
// clients without an IP address. So a flood from many addresses takes bounded
// memory and cannot displace the known clients.
type clients struct {
	mu   sync.Mutex
	seen map[netip.Prefix]*rate.Limiter
}

var errRate = status.Error(codes.ResourceExhausted, "rate limit exceeds request timeout")

func newClients() *clients { return &clients{seen: map[netip.Prefix]*rate.Limiter{}} }

// get returns the limiter of an address, which it creates if need be.
func (c *clients) get(key netip.Prefix) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[key] == nil && len(c.seen) >= maxAddresses {
		key = netip.Prefix{}
	}
	l := c.seen[key]
	if l == nil {
		l = rate.NewLimiter(requestRate, requestBurst)
		c.seen[key] = l
	}
	return l
}

// wait waits for a token of the address's rate limit. It fails at once if the wait
// would exceed ctx's deadline or maxWait.
func (c *clients) wait(ctx context.Context, key netip.Prefix) error {
	bounded, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if err := c.get(key).Wait(bounded); err != nil {
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		return errRate
	}
	return nil
}

// sweep forgets clients whose rate limit has recovered.
func (c *clients) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, l := range c.seen {
		if l.TokensAt(now) >= requestBurst {
			delete(c.seen, key)
		}
	}
}

// clientKey returns the prefix by which an address is counted: the address, or the /64
// of an IPv6 address. It is invalid for the zero Addr.
func clientKey(addr netip.Addr) netip.Prefix {
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // fails for the zero Addr
	return p
}
