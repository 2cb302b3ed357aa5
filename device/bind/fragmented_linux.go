package bind

import (
	"net/netip"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxFragmented  = 256              // hosts remembered
	fragmentedTime = 10 * time.Minute // then bursts to them are tried again
)

// fragmentedHosts remembers the hosts to which the segments of bursts are larger
// than the route's MTU. All are forgotten together: when routes change, or after
// fragmentedTime.
type fragmentedHosts struct {
	some atomic.Bool // there are any

	mu         sync.Mutex // guards what follows
	all        map[netip.Addr]struct{}
	since      time.Time // of the first one
	generation uint32
}

// add remembers a host. It returns false if the host was known, or if there are too
// many.
func (h *fragmentedHosts) add(addr netip.Addr, generation uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(generation)
	if _, known := h.all[addr]; known || len(h.all) >= maxFragmented {
		return false
	}
	if len(h.all) == 0 {
		h.all, h.since, h.generation = make(map[netip.Addr]struct{}), time.Now(), generation
		h.some.Store(true)
	}
	h.all[addr] = struct{}{}
	return true
}

// has reports whether a host is remembered.
func (h *fragmentedHosts) has(addr netip.Addr, generation uint32) bool {
	if !h.some.Load() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(generation)
	_, known := h.all[addr]
	return known
}

// list returns the remembered hosts, sorted.
func (h *fragmentedHosts) list(generation uint32) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(generation)
	var out []netip.Addr
	for addr := range h.all {
		out = append(out, addr)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return out
}

// forget drops all hosts if routes have changed or their time is over. The caller
// holds mu.
func (h *fragmentedHosts) forget(generation uint32) {
	if len(h.all) > 0 && (generation != h.generation || time.Since(h.since) > fragmentedTime) {
		h.all = nil
		h.some.Store(false)
	}
}
