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

// clients limits the requests per second of each client address, and the bytes. IPv6
// clients count by /64, since a single host can use as many addresses of its /64 as it
// likes.
//
// It tracks at most maxAddresses. All further addresses share one limit, as do
// clients without an IP address. So a flood from many addresses takes bounded
// memory and cannot displace the known clients.
type clients struct {
	mu   sync.Mutex
	seen map[netip.Prefix]*client
}

// client is one address.
type client struct {
	requests *rate.Limiter
	paid     time.Time // when, at byteRate, all that it has sent would have come
}

var errRate = status.Error(codes.ResourceExhausted, "rate limit exceeds request timeout")

func newClients() *clients { return &clients{seen: map[netip.Prefix]*client{}} }

// get returns the client with an address, which it creates if need be. The caller holds
// the lock.
func (c *clients) get(key netip.Prefix) *client {
	if c.seen[key] == nil && len(c.seen) >= maxAddresses {
		key = netip.Prefix{}
	}
	l := c.seen[key]
	if l == nil {
		l = &client{requests: rate.NewLimiter(requestRate, requestBurst)}
		c.seen[key] = l
	}
	return l
}

// wait waits for a token of the address's rate limit. It fails at once if the wait
// would exceed ctx's deadline or maxWait.
func (c *clients) wait(ctx context.Context, key netip.Prefix) error {
	bounded, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	c.mu.Lock()
	requests := c.get(key).requests
	c.mu.Unlock()
	if err := requests.Wait(bounded); err != nil {
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		return errRate
	}
	return nil
}

// spend counts bytes of an address, and returns how long it has to wait before more is
// read.
func (c *clients) spend(key netip.Prefix, bytes int, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.get(key)
	if l.paid.Before(now) {
		l.paid = now
	}
	l.paid = l.paid.Add(byteTime(bytes))
	if last := now.Add(byteTime(byteBurst) + 2*maxDebt); l.paid.After(last) { // its connections are closed before
		l.paid = last
	}
	return max(0, l.paid.Sub(now)-byteTime(byteBurst))
}

// byteTime returns how long a number of bytes takes at byteRate.
func byteTime(n int) time.Duration { return time.Duration(n) * time.Second / byteRate }

// sweep forgets clients whose limits have recovered.
func (c *clients) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, l := range c.seen {
		if l.requests.TokensAt(now) >= requestBurst && !l.paid.After(now) {
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
