package memory

import (
	"bytes"
	"io/fs"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/go-hclog"
)

func TestDefaultBudget(t *testing.T) {
	for _, tc := range []struct{ memory, want int64 }{
		{0, minBudget},
		{64 << 20, minBudget},
		{128 << 20, 16 << 20},
		{320 << 20, 40 << 20},
		{24 << 30, maxBudget},
		{math.MaxInt64, maxBudget},
	} {
		if got := defaultBudget(tc.memory); got != tc.want {
			t.Errorf("defaultBudget(%d) = %d, want %d", tc.memory, got, tc.want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, tc := range []struct{ budget, live, beside, want int64 }{
		{256 << 20, 0, 0, 256 << 20},
		{256 << 20, 120 << 20, 10 << 20, 256 << 20},
		{256 << 20, 240 << 20, 10 << 20, 280 << 20}, // room for an eighth
		{1, 0, 5 << 20, 5<<20 + minHeadroom},
		{16 << 20, 6 << 20, 5 << 20, 19 << 20},
		{48 << 20, 40 << 20, 5 << 20, 45<<20 + maxHeadroom},
		{math.MaxInt64, 1 << 40, 1 << 30, math.MaxInt64},
	} {
		if got := memoryLimit(tc.budget, tc.live, tc.beside); got != tc.want {
			t.Errorf("memoryLimit(%d, %d, %d) = %d, want %d", tc.budget, tc.live, tc.beside, got, tc.want)
		}
	}
}

func TestPhysicalMemory(t *testing.T) {
	const meminfo = "MemTotal:        2048000 kB\nMemFree:         1024000 kB\n"
	const total = 2048000 << 10
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing":      {nil, math.MaxInt64},
		"no group":     {map[string]string{"proc/meminfo": meminfo}, total},
		"unified":      {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/system.slice/w.service\n", "sys/fs/cgroup/system.slice/w.service/memory.max": "134217728\n"}, 128 << 20},
		"a group over": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "67108864\n"}, 64 << 20},
		"its own root": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}, 64 << 20},
		"the host's path in a container": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../pod/x\n", "sys/fs/cgroup/memory.max": "67108864\n",
		}, 64 << 20},
		"hybrid":          {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/unified/x/memory.max": "67108864\n"}, 64 << 20},
		"version 1":       {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/x\n0::/\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "33554432\n"}, 32 << 20},
		"version 1, none": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, total},
		"a larger limit":  {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "99999999999999\n"}, total},
		"garbage": {map[string]string{
			"proc/meminfo":     "MemTotal: many kB\nMemTotal: -5 kB\nMemTotal:\nMemTotal: 99999999999999999 kB\n\x00\xff",
			"proc/self/cgroup": "::\n0\n:::::\n0::\nmemory:memory:memory\n" + strings.Repeat("x", 100<<10), "sys/fs/cgroup/memory.max": "-1\n0\n1e3\n",
		}, math.MaxInt64},
	} {
		root := fstest.MapFS{}
		for path, text := range tc.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := physicalMemory(root); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func FuzzPhysicalMemory(f *testing.F) {
	f.Add("MemTotal: 1 kB\n", "0::/a\n", "1\n")
	f.Fuzz(func(t *testing.T, meminfo, group, limit string) {
		root := fstest.MapFS{}
		for path, text := range map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": group,
			"sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory/memory.limit_in_bytes": limit,
		} {
			root[path] = &fstest.MapFile{Data: []byte(text), Mode: fs.ModePerm}
		}
		if got := physicalMemory(root); got <= 0 {
			t.Errorf("%d bytes of memory", got)
		}
	})
}

// setRuntime sets the runtime's GC percentage and memory limit until the test
// ends.
func setRuntime(t *testing.T, percent int, limit int64) {
	t.Helper()
	oldPercent, oldLimit := debug.SetGCPercent(percent), debug.SetMemoryLimit(limit)
	t.Cleanup(func() {
		debug.SetGCPercent(oldPercent)
		debug.SetMemoryLimit(oldLimit)
	})
}

// settings returns the runtime's GC percentage and memory limit.
func settings() (percent int, limit int64) {
	percent = debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return percent, debug.SetMemoryLimit(-1)
}

func TestEnvironmentWins(t *testing.T) {
	const limit = 1 << 40
	setRuntime(t, 55, limit)
	for _, tc := range []struct {
		env     string
		percent int
		kept    bool
		says    string
	}{
		{"", gcPercent, false, ""},
		{"GOGC", 55, false, "GOGC"},
		{"GOMEMLIMIT", gcPercent, true, "GOMEMLIMIT"},
	} {
		t.Run(tc.env, func(t *testing.T) {
			t.Setenv("GOGC", "")
			t.Setenv("GOMEMLIMIT", "")
			if tc.env != "" {
				t.Setenv(tc.env, "55") // the runtime has read it long ago
			}
			var log bytes.Buffer
			tuner := Tune(512<<20, hclog.New(&hclog.LoggerOptions{Output: &log}))
			defer tuner.Close()
			percent, got := settings()
			if percent != tc.percent {
				t.Errorf("GC percent %d, want %d", percent, tc.percent)
			}
			if (got == limit) != tc.kept || got < 512<<20 {
				t.Errorf("memory limit %d", got)
			}
			if !strings.Contains(log.String(), tc.says) || tc.says == "" && log.Len() > 0 {
				t.Errorf("log: %q", log.String())
			}
		})
	}
}

// A budget below what is live makes the collector no more eager than it would
// be without one.
func TestSmallBudgetDoesNotThrash(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	live := make([]byte, 64<<20)
	defer Tune(1, nil).Close()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 512 << 20 >> 16 {
		garbage = make([]byte, 64<<10)
	}
	runtime.ReadMemStats(&after)
	// 512 MiB of garbage, with room for 16 MiB at a time; each twice, at most.
	if n := after.NumGC - before.NumGC; n > 2*512<<20/minHeadroom {
		t.Errorf("%d collections", n)
	}
	runtime.KeepAlive(live)
	garbage = nil
}

// Close restores the settings, and no later collection changes them again.
func TestClose(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	const percent, limit = 55, 1 << 40
	setRuntime(t, percent, limit)
	tuner := Tune(512<<20, nil)
	g := startGovernor(1 << 30)
	g.stop()
	if _, got := settings(); got != 512<<20 {
		t.Errorf("memory limit %d after another governor has stopped", got)
	}
	for range 2 {
		tuner.Close()
		if p, l := settings(); p != percent || l != limit {
			t.Errorf("GC percent %d, memory limit %d, want %d and %d", p, l, percent, int64(limit))
		}
	}
	g.collected() // as by a cleanup that was under way when it stopped
	if _, got := settings(); got != limit {
		t.Errorf("memory limit %d: a governor that has stopped set it", got)
	}
}

// The limit is adjusted after each collection.
func TestGovernorFollowsTheLiveHeap(t *testing.T) {
	setRuntime(t, 100, math.MaxInt64)
	g := startGovernor(1)
	defer g.stop()
	const size = 256 << 20
	if _, limit := settings(); limit >= size {
		t.Fatalf("limit %d to begin with", limit)
	}
	live := make([]byte, size)
	defer runtime.KeepAlive(live)
	for range 1000 { // the runtime calls cleanups a moment after a collection
		runtime.GC()
		if _, limit := settings(); limit >= size+minHeadroom {
			return
		}
	}
	t.Error("the limit stays below the live heap")
}

// garbage makes allocations escape.
var garbage []byte
