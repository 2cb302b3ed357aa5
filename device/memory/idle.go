package memory

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/memory/text"
)

const (
	// idleTick is the least time between two looks, and between a collection and the
	// next one. While the process does next to nothing the time doubles, up to
	// maxTick: each look wakes the process, and a sleeping process leaves no garbage.
	idleTick = time.Second
	maxTick  = 32 * idleTick
	// From a pause of restTick on, pages of the program are given back at each look.
	restTick = 4 * idleTick
	// sleepCPU is the CPU time that the looks themselves, timers and keepalives use
	// between two looks at most.
	sleepCPU = 20 * time.Millisecond
	// An idle process uses 1/idleShare of a CPU at most. A busy data plane leaves
	// little garbage, and a collection takes its idle buffers away.
	idleShare = 4
	// idleGarbage is how much garbage, together with free memory that was not
	// returned to the system, makes a collection worthwhile, and sleepGarbage how much
	// while the process sleeps: what its start has left is most of what it holds.
	idleGarbage  = 2 << 20
	sleepGarbage = idleGarbage / 8
	// idleRest is how many times as long as a collection took, in CPU time, the
	// next one waits at least: a large heap is not collected every second.
	idleRest = 10
)

// idleCollector collects garbage while the process is idle. The lazy collector
// would leave it for hours: what a change of a large mesh leaves behind, or what
// handshakes with peers that are down leave bit by bit.
type idleCollector struct {
	cpu    time.Duration // used by the process, at the last look
	looked time.Time
	pause  time.Duration // until the next look
	rest   time.Time     // no collection before
	done   chan struct{}
	wait   sync.WaitGroup
}

func startIdleCollector() *idleCollector {
	c := &idleCollector{looked: time.Now(), pause: idleTick, done: make(chan struct{})}
	c.wait.Go(c.run)
	return c
}

// stop returns when no collection of c is under way any more.
func (c *idleCollector) stop() {
	close(c.done)
	c.wait.Wait()
}

func (c *idleCollector) run() {
	timer := time.NewTimer(c.pause)
	defer timer.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-timer.C:
		}
		if c.due(readUsage(), time.Now()) {
			before := cpuTime()
			debug.FreeOSMemory()
			c.collected(cpuTime()-before, time.Now())
		}
		if c.pause >= restTick { // most of the program was used once, to start
			text.Release()
		}
		timer.Reset(c.pause)
	}
}

// due reports whether a collection is worthwhile now, and sets the time of the next look.
func (c *idleCollector) due(u usage, now time.Time) bool {
	worthwhile := uint64(idleGarbage)
	if c.pause == maxTick {
		worthwhile = sleepGarbage
	}
	used, garbage := u.cpu-c.cpu, u.objects+u.free > u.live+worthwhile
	idle := used <= now.Sub(c.looked)/idleShare
	c.cpu, c.looked = u.cpu, now
	switch {
	case used > sleepCPU || garbage:
		c.pause = idleTick
	default:
		c.pause = min(2*c.pause, maxTick)
	}
	return idle && !now.Before(c.rest) && garbage
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
