package dns

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits.
const (
	maxQuery     = 4096 // bytes
	maxRate      = 2000 // queries per second of a source
	maxBurst     = 4000
	maxWaiting   = 512 // queries that wait for upstreams
	maxWaitingOf = 64  // of one source
	maxStreams   = 128 // TCP connections
	maxStreamsOf = 16  // of one source
	maxPipelined = 16  // queries of one connection that wait for upstreams
	streamIdle   = 10 * time.Second
	streamWrite  = 5 * time.Second

	maxUpstreams  = 3 // that are asked for one query
	upstreamTry   = 2 * time.Second
	upstreamTotal = 5 * time.Second
	maxHops       = 3 // servers like this one that a query passes

	packetSize    = 1232 // of replies by UDP, in bytes
	minPacketSize = 512  // RFC 1035 §4.2.1
)

// limits bounds what sources can make the server do.
type limits struct {
	seed    maphash.Seed
	buckets [1024]*rate.Limiter // by hash of the source, so that sources take no memory
	waiting counter
	streams counter
}

func newLimits() *limits {
	l := &limits{
		seed:    maphash.MakeSeed(),
		waiting: counter{most: maxWaiting, mostOf: maxWaitingOf, of: map[netip.Addr]int{}},
		streams: counter{most: maxStreams, mostOf: maxStreamsOf, of: map[netip.Addr]int{}},
	}
	for i := range l.buckets {
		l.buckets[i] = rate.NewLimiter(maxRate, maxBurst)
	}
	return l
}

// rate reports whether a source has not asked too often.
func (l *limits) rate(src netip.Addr) bool {
	return l.buckets[maphash.Comparable(l.seed, src)%uint64(len(l.buckets))].Allow()
}

// counter counts what is in use by each source, and in total.
type counter struct {
	most, mostOf int

	mu    sync.Mutex
	total int
	of    map[netip.Addr]int
}

// take takes a place for a source. It returns what gives it back; nil: all are taken.
func (c *counter) take(src netip.Addr) (done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= c.most || c.of[src] >= c.mostOf {
		return nil
	}
	c.total++
	c.of[src]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.total--
		if c.of[src]--; c.of[src] == 0 {
			delete(c.of, src)
		}
	}
}
