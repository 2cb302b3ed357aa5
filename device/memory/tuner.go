package memory

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/hashicorp/go-hclog"
)

const (
	// gcPercent is how much the heap may grow over what is live before garbage
	// is collected, as long as memory is not short. The data plane leaves next
	// to no garbage, but each collection costs it the buffers that were idle for
	// two of them, which then are allocated and zeroed again.
	gcPercent = 400
	// The default budget is a share of the memory there is, within bounds. More
	// would not make the data plane faster, since it collects next to never as
	// it is, but would let the garbage of everything else pile up.
	budgetShare = 8
	minBudget   = 32 << 20
	maxBudget   = 48 << 20
	// headroom is for garbage, at least, and a share of what is live. With 4 MiB the
	// netstack had 0.65 of its throughput, and took more memory rather than less:
	// each collection takes away the buffers that are idle at that moment.
	minHeadroom   = 16 << 20
	headroomShare = 8
)

// Tune fits the Go runtime to a process whose main work is a data plane: the
// garbage collector is lazy while the process needs less than budget bytes, and
// gets more eager towards that, but not without end: there is always room for
// garbage, however small the budget. 0 fits the budget to the machine's
// memory or that of the process' control group. GOGC and GOMEMLIMIT in the
// environment win. It is for programs to call, once, before it opens a device.
func Tune(budget int64, log hclog.Logger) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	if budget <= 0 {
		budget = defaultBudget(physicalMemory(os.DirFS("/")))
	}
	tidy := os.Getenv("GOGC") == ""
	if tidy {
		debug.SetGCPercent(gcPercent)
	} else {
		log.Info("the environment decides on garbage collection", "GOGC", os.Getenv("GOGC"))
	}
	if v := os.Getenv("GOMEMLIMIT"); v != "" {
		log.Info("the environment decides on memory, not the memory budget", "GOMEMLIMIT", v)
		return
	}
	log.Debug("memory budget", "bytes", budget)
	g := &governor{budget: budget}
	g.adjust()
	g.afterCollection()
	if tidy {
		new(janitor).start()
	}
}

// defaultBudget is a share of the memory that this process may use.
func defaultBudget(memory int64) int64 {
	return min(max(memory/budgetShare, minBudget), maxBudget)
}

// memoryLimit is the soft limit for a budget while that much is live, and that
// much in use beside the heap: with room for garbage, so that collections never
// follow each other at once.
func memoryLimit(budget, live, beside int64) int64 {
	return max(budget, live+beside+max(live/headroomShare, minHeadroom))
}

// governor keeps the soft memory limit above what is live. Below it the
// collector would take half of the CPU time, and gain nothing.
type governor struct {
	budget int64
	limit  int64 // as set
}

// adjust sets the limit for what was live at the end of the last collection.
func (g *governor) adjust() {
	live, beside := liveAndBeside()
	limit := memoryLimit(g.budget, live, beside)
	// Each change stops the world for a moment, so small ones are not made.
	if change := limit - g.limit; change > g.limit/16 || -change > g.limit/16 {
		debug.SetMemoryLimit(limit)
		g.limit = limit
	}
}

// liveAndBeside reads what was live at the end of the last collection, and what
// the limit counts that is no object: stacks, the runtime's own tables, the rest
// of pages that objects are on.
func liveAndBeside() (live, beside int64) {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	beside = int64(s[1].Value.Uint64())
	for _, heap := range s[2:] {
		beside -= int64(heap.Value.Uint64())
	}
	return int64(s[0].Value.Uint64()), beside
}

// collected is an object that lives until the next collection. It is too large
// to share its memory with others, which would keep it alive.
type collected [32]byte

// afterCollection adjusts the limit after the next collection, and so on.
func (g *governor) afterCollection() {
	runtime.AddCleanup(new(collected), func(g *governor) {
		g.adjust()
		g.afterCollection()
	}, g)
}
