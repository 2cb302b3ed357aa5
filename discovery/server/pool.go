package server

import (
	"net/netip"
	"sync"
)

// pool is a quantity (connections, watches, bytes) that all client addresses share. An
// address may have a part of the pool as large as the square of the part that is then
// still free: 38 % if it is alone. So n addresses that take all they can get leave about
// 1/(n+1) for others. An address that has nothing gets its first even if that exceeds its
// part, as long as there is room. What belongs to no IP address is bounded by the total
// only.
type pool struct {
	mu   sync.Mutex
	size int
	used int
	held map[netip.Prefix]int // by clientKey; none is 0
}

func newPool(size int) *pool { return &pool{size: size, held: map[netip.Prefix]int{}} }

// take reserves n for an address and reports whether there was room.
func (p *pool) take(key netip.Prefix, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, free := p.held[key], p.size-p.used-n
	if free < 0 {
		return false
	}
	if share := float64(free) * float64(free) / float64(p.size); key.IsValid() && held > 0 && float64(held+n) > share {
		return false
	}
	p.used += n
	p.held[key] += n
	return true
}

// put gives back what take has reserved.
func (p *pool) put(key netip.Prefix, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
	if p.held[key] -= n; p.held[key] == 0 {
		delete(p.held, key)
	}
}

// full reports whether nothing is left for anybody.
func (p *pool) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used >= p.size
}

// pools are what the client addresses of a server share. The store has a pool of its own,
// for affiliates.
type pools struct {
	connections *pool
	pending     *pool // requests that are not received, or wait for their turn
	watches     *pool
	answers     *pool // bytes of answers that clients have not taken yet
}

func newPools(onlyCluster bool) pools {
	if onlyCluster {
		return pools{newPool(ownConnections), newPool(ownPending), newPool(ownWatches), newPool(ownAnswers)}
	}
	return pools{newPool(maxConnections), newPool(maxPending), newPool(maxWatches), newPool(maxAnswers)}
}
