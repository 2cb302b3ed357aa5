package memory

import (
	"testing"
	"time"
)

func TestIdleCollector(t *testing.T) {
	const mib = 1 << 20
	now := time.Unix(1e9, 0)
	c := &idleCollector{looked: now}
	for _, tc := range []struct {
		name string
		now  usage
		want bool
	}{
		{"start", usage{cpu: time.Second, objects: 50 * mib}, false},
		{"idle", usage{cpu: time.Second, objects: 51 * mib, live: 10 * mib}, true},
		{"no garbage", usage{cpu: time.Second, objects: 12 * mib, live: 11 * mib}, false},
		{"free memory", usage{cpu: time.Second, objects: 12 * mib, live: 11 * mib, free: 20 * mib}, true},
		{"little garbage", usage{cpu: time.Second, objects: 12 * mib, live: 11 * mib, free: mib}, false},
		{"enough", usage{cpu: time.Second, objects: 13 * mib, live: 11 * mib, free: mib}, true},
		{"busy", usage{cpu: 2 * time.Second, objects: 117 * mib, live: 11 * mib, free: mib}, false},
		{"idle again", usage{cpu: 2*time.Second + idleTick/idleShare, objects: 118 * mib, live: 11 * mib, free: mib}, true},
	} {
		now = now.Add(idleTick)
		if got := c.due(tc.now, now); got != tc.want {
			t.Errorf("%s: due = %v", tc.name, got)
		}
	}
}

// A process that does next to nothing is looked at ever more seldom, and at once often
// when it works or leaves garbage.
func TestIdleCollectorSleeps(t *testing.T) {
	const mib = 1 << 20
	now := time.Unix(1e9, 0)
	c := &idleCollector{looked: now, pause: idleTick}
	look := func(u usage, want time.Duration) {
		t.Helper()
		u.cpu += c.cpu
		now = now.Add(c.pause)
		c.due(u, now)
		if c.pause != want {
			t.Errorf("the next look is in %v, want %v", c.pause, want)
		}
	}
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 32} {
		look(usage{cpu: sleepCPU}, want*idleTick)
	}
	if !c.due(usage{cpu: c.cpu, objects: 2*mib - 1, live: mib}, now.Add(c.pause)) {
		t.Error("a sleeping process keeps a little garbage")
	}
	look(usage{cpu: sleepCPU + 1}, idleTick)
	look(usage{}, 2*idleTick)
	look(usage{objects: 5 * mib, live: mib}, idleTick)
}

// A collection that takes long is not repeated soon, however much garbage there is.
func TestIdleCollectorRests(t *testing.T) {
	start := time.Unix(1e9, 0)
	c := &idleCollector{looked: start.Add(-idleTick)}
	garbage := usage{objects: 200 << 20, live: 100 << 20}
	for _, tc := range []struct{ cost, rest time.Duration }{
		{time.Millisecond, 10 * time.Millisecond},
		{200 * time.Millisecond, 2 * time.Second},
	} {
		c.collected(tc.cost, start)
		if c.due(garbage, start.Add(tc.rest-1)) || !c.due(garbage, start.Add(tc.rest)) {
			t.Errorf("after %v of CPU time it does not wait for %v", tc.cost, tc.rest)
		}
	}
}

func TestUsageIsKnown(t *testing.T) {
	if u := readUsage(); u.objects == 0 || u.cpu == 0 {
		t.Errorf("%+v", u)
	}
}
