package memory

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// idleTick is the interval of looks, and the least time between a collection
	// and the next one.
	idleTick = time.Second
	// idleCPU is how much CPU time an idle process uses in a tick at most. A busy
	// data plane leaves little garbage, and a collection takes its idle buffers
	// away.
	idleCPU = idleTick / 4
	// idleGarbage is how much garbage, together with free memory that was not
	// returned to the system, makes a collection worthwhile.
	idleGarbage = 2 << 20
	// idleRest is how many times as long as a collection took, in CPU time, the
	// next one waits at least: a large heap is not collected every second.
	idleRest = 10
)

// idleCollector collects garbage while the process is idle. The lazy collector
// would leave it for hours: what a change of a large mesh leaves behind, or what
// handshakes with peers that are down leave bit by bit.
type idleCollector struct {
	cpu  time.Duration // used by the process, at the last tick
	rest time.Time     // no collection before
	done chan struct{}
	wait sync.WaitGroup
}

func startIdleCollector() *idleCollector {
	c := &idleCollector{done: make(chan struct{})}
	c.wait.Go(c.run)
	return c
}

// stop returns when no collection of c is under way any more.
func (c *idleCollector) stop() {
	close(c.done)
	c.wait.Wait()
}

func (c *idleCollector) run() {
	tick := time.NewTicker(idleTick)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		if c.due(readUsage(), time.Now()) {
			before := cpuTime()
			debug.FreeOSMemory()
			c.collected(cpuTime()-before, time.Now())
			tick.Reset(idleTick)
		}
	}
}

// due reports whether a collection is worthwhile now.
func (c *idleCollector) due(u usage, now time.Time) bool {
	idle := u.cpu-c.cpu < idleCPU
	c.cpu = u.cpu
	return idle && !now.Before(c.rest) && u.objects+u.free > u.live+idleGarbage
}

// collected notes what a collection has cost.
func (c *idleCollector) collected(cost time.Duration, now time.Time) {
	c.rest = now.Add(idleRest * cost)
}

// usage is the process' use of CPU time, and of memory in bytes.
type usage struct {
	cpu     time.Duration // since its start
	objects uint64        // in objects, dead ones included
	live    uint64        // in objects that were live at the end of the last collection
	free    uint64        // in the heap without an object, and not returned to the system
}

func readUsage() usage {
	s := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return usage{cpuTime(), s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64()}
}

// cpuTime returns the CPU time that the process has used so far; 0 if the system
// does not say.
func cpuTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
