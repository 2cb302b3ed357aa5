package memory

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// The limit leaves room for garbage: half of the budget within these bounds, or a share
	// of the live heap if that is more. With 4 MiB the netstack had 0.65 of its throughput, and took
	// more memory rather than less: each collection takes away the buffers that are
	// idle at that moment.
	minHeadroom   = 4 << 20
	maxHeadroom   = 16 << 20
	headroomShare = 8
)

// memoryLimit returns the soft limit for a budget, with live bytes in live objects
// and other bytes in use beside the heap. It leaves room for garbage, so that
// collections never follow each other at once.
func memoryLimit(budget, live, other int64) int64 {
	headroom := min(max(budget/2, minHeadroom), maxHeadroom)
	return max(budget, live+other+max(live/headroomShare, headroom))
}

// governor keeps the soft memory limit above what is live. Below that, the
// collector would take half of the CPU time and gain nothing.
type governor struct {
	budget int64
	before int64 // limit to restore

	mu      sync.Mutex // guards what follows
	limit   int64      // as set
	next    runtime.Cleanup
	stopped bool
}

// startGovernor sets the limit now and after each collection.
func startGovernor(budget int64) *governor {
	g := &governor{budget: budget, before: debug.SetMemoryLimit(-1)}
	g.collected()
	return g
}

// stop restores the limit.
func (g *governor) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	g.next.Stop()
	debug.SetMemoryLimit(g.before)
}

// sentinel is an object that lives until the next collection. It is too large to
// share its memory block with other objects, which would keep it alive.
type sentinel [32]byte

// collected adjusts the limit, and has itself called again after the next
// collection.
func (g *governor) collected() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	g.adjust()
	g.next = runtime.AddCleanup(new(sentinel), (*governor).collected, g)
}

// adjust sets the limit for what was live at the end of the last collection. The
// caller holds mu.
func (g *governor) adjust() {
	live, other := memoryInUse()
	limit := memoryLimit(g.budget, live, other)
	// Each change stops the world for a moment, so small ones are not made.
	if change := limit - g.limit; change > g.limit/16 || -change > g.limit/16 {
		debug.SetMemoryLimit(limit)
		g.limit = limit
	}
}

// memoryInUse returns the bytes that were live at the end of the last collection,
// and the other bytes that the limit counts: stacks, the runtime's own tables, the
// unused rest of pages that hold objects.
func memoryInUse() (live, other int64) {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	other = int64(s[1].Value.Uint64())
	for _, heap := range s[2:] {
		other -= int64(heap.Value.Uint64())
	}
	return int64(s[0].Value.Uint64()), other
}
