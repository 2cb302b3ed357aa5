package bind

import (
	"net/netip"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxFragmented = 256              // addresses remembered
	fragmentTime  = 10 * time.Minute // then they are forgotten, and tried anew
)

// addresses remembers the peers to which bursts are larger than the route
// takes. All are forgotten together, when routes change or after a while.
type addresses struct {
	some atomic.Bool // whether to look at all

	mu         sync.Mutex
	all        map[netip.Addr]struct{}
	since      time.Time // of the first one
	generation uint32
}

// add remembers an address. It reports whether that is news.
func (a *addresses) add(addr netip.Addr, generation uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(generation)
	if _, known := a.all[addr]; known || len(a.all) >= maxFragmented {
		return false
	}
	if len(a.all) == 0 {
		a.all, a.since, a.generation = make(map[netip.Addr]struct{}), time.Now(), generation
		a.some.Store(true)
	}
	a.all[addr] = struct{}{}
	return true
}

// has reports whether an address is remembered.
func (a *addresses) has(addr netip.Addr, generation uint32) bool {
	if !a.some.Load() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(generation)
	_, known := a.all[addr]
	return known
}

// list returns the remembered addresses, sorted.
func (a *addresses) list(generation uint32) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(generation)
	var out []netip.Addr
	for addr := range a.all {
		out = append(out, addr)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return out
}

// forget drops all addresses if their time is over.
func (a *addresses) forget(generation uint32) {
	if len(a.all) > 0 && (generation != a.generation || time.Since(a.since) > fragmentTime) {
		a.all = nil
		a.some.Store(false)
	}
}
