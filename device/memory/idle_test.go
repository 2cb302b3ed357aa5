package memory

import (
	"testing"
	"time"
)

func TestIdleCollector(t *testing.T) {
	const mib = 1 << 20
	c := new(idleCollector)
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
		{"idle again", usage{cpu: 2*time.Second + idleCPU - 1, objects: 118 * mib, live: 11 * mib, free: mib}, true},
	} {
		if got := c.due(tc.now); got != tc.want {
			t.Errorf("%s: due = %v", tc.name, got)
		}
	}
}

func TestUsageIsKnown(t *testing.T) {
	if u := readUsage(); u.objects == 0 || u.cpu == 0 {
		t.Errorf("%+v", u)
	}
}
