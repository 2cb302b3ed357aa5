package device

import "testing"

func TestJanitor(t *testing.T) {
	const mib = 1 << 20
	j := new(janitor)
	for _, tc := range []struct {
		name string
		now  usage
		want bool
	}{
		{"start", usage{allocated: 50 * mib, objects: 50 * mib}, false},
		{"quiet", usage{allocated: 51 * mib, objects: 51 * mib, live: 10 * mib}, true},
		{"tidy", usage{allocated: 52 * mib, objects: 12 * mib, live: 11 * mib}, false},
		{"free memory", usage{allocated: 53 * mib, objects: 12 * mib, live: 11 * mib, free: 20 * mib}, true},
		{"little garbage", usage{allocated: 56 * mib, objects: 12 * mib, live: 11 * mib, free: mib}, false},
		{"enough", usage{allocated: 58 * mib, objects: 13 * mib, live: 11 * mib, free: mib}, true},
		{"busy", usage{allocated: 158 * mib, objects: 117 * mib, live: 11 * mib, free: mib}, false},
		{"quiet again", usage{allocated: 159 * mib, objects: 118 * mib, live: 11 * mib, free: mib}, true},
	} {
		if got := j.due(tc.now); got != tc.want {
			t.Errorf("%s: due = %v", tc.name, got)
		}
	}
}

func TestUsageIsKnown(t *testing.T) {
	if u := readUsage(); u.allocated < u.objects || u.objects == 0 {
		t.Errorf("%+v", u)
	}
}
