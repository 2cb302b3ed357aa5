package memory

import (
	"runtime/debug"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// janitorTick is how often a janitor looks; a collection is never followed by
	// another one sooner.
	janitorTick = time.Second
	// janitorCPU is how much CPU time may be used in a tick for the process to be
	// quiet. A data plane with much to do leaves little garbage, and a collection
	// takes its idle buffers away.
	janitorCPU = janitorTick / 4
	// janitorWorth is how much garbage, together with what is free but not
	// returned, makes a collection worthwhile.
	janitorWorth = 2 << 20
)

// janitor takes the garbage out when the process is quiet. A lazy collector
// would leave it there for hours: what a change of a large mesh left behind, or
// what handshakes with peers that are down leave bit by bit. While much is
// done it does nothing.
type janitor struct {
	cpu time.Duration // used, at the last tick
}

// usage is what a janitor looks at, in bytes but for cpu.
type usage struct {
	cpu     time.Duration // used by the process since its start
	objects uint64        // in memory, dead ones included
	live    uint64        // at the end of the last collection
	free    uint64        // in the heap, without an object, not returned
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

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// start makes it look from now on.
func (j *janitor) start() {
	time.AfterFunc(janitorTick, func() {
		if j.due(readUsage()) {
			debug.FreeOSMemory()
		}
		j.start()
	})
}

// due reports whether a collection is worthwhile now.
func (j *janitor) due(u usage) bool {
	quiet := u.cpu-j.cpu < janitorCPU
	j.cpu = u.cpu
	return quiet && u.objects+u.free > u.live+janitorWorth
}
