package device

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// janitorTick is how often a janitor looks; a collection is never followed by
	// another one sooner.
	janitorTick = 2 * time.Second
	// janitorQuiet is how much may be allocated in a tick for the process to be
	// quiet: a collection that frees that much has paid for itself by then.
	janitorQuiet = 8 << 20
	// janitorWorth is how much garbage, together with what is free but not
	// returned, makes a collection worthwhile.
	janitorWorth = 2 << 20
)

// janitor takes the garbage out when the process is quiet. A lazy collector
// would leave it there for hours: what a change of a large mesh left behind, or
// what handshakes with peers that are down leave bit by bit. While much is
// allocated it does nothing, and when the data plane has much to do neither,
// since that leaves no garbage.
type janitor struct {
	allocated uint64 // since the start, at the last tick
}

// usage is what a janitor looks at, in bytes.
type usage struct {
	allocated uint64 // since the start
	objects   uint64 // in memory, dead ones included
	live      uint64 // at the end of the last collection
	free      uint64 // in the heap, without an object, not returned
}

func readUsage() usage {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return usage{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64(), s[3].Value.Uint64()}
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
	quiet := u.allocated-j.allocated < janitorQuiet
	j.allocated = u.allocated
	return quiet && u.objects+u.free > u.live+janitorWorth
}
