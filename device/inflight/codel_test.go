package inflight

import (
	"testing"
	"time"

	"github.com/wirespan/wirespan/device/offload"
)

func TestCodel(t *testing.T) {
	type step struct {
		ms             int
		standing, want bool
	}
	for name, tc := range map[string]struct {
		packets int // of each read
		steps   []step
	}{
		"slow": {100, []step{
			{0, true, false},
			{99, true, false}, // a burst
			{100, true, true},
			{150, true, false},
			{199, true, false},
			{200, true, true},
			{270, true, false},
			{271, true, true}, // 100/√2
			{300, false, false},
			{301, true, false},
			{399, true, false}, // empty once: from the beginning
			{400, true, true},
		}},
		"fast": {1024, []step{
			{0, true, false},
			{1, true, false},
			{2, true, false},
			{3, true, false},
			{9, true, false},
			{20, true, true},
			{39, true, false},
			{40, true, true},
			{54, true, false},
			{55, true, true}, // 20/√2
			{60, false, false},
			{70, true, false},
			{80, true, false},
			{90, true, false},
			{95, true, true},
		}},
	} {
		start := time.Unix(1e9, 0)
		var c codel
		for _, s := range tc.steps {
			now := start.Add(time.Duration(s.ms) * time.Millisecond)
			if got := c.congested(tc.packets, s.standing, now); got != s.want {
				t.Errorf("%s, at %d ms: %v", name, s.ms, got)
			}
		}
	}
}

func TestMarkCE(t *testing.T) {
	v4 := func(tos byte) []byte {
		b := make([]byte, 20)
		copy(b, []byte{0x45, tos, 0, 20, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
		sum := ^offload.Fold(offload.Checksum(b, 0))
		b[10], b[11] = byte(sum>>8), byte(sum)
		return b
	}
	for _, tc := range []struct{ tos, want byte }{{0xb8, 0xb8}, {0xb9, 0xbb}, {0xba, 0xbb}, {0xbb, 0xbb}, {0xfe, 0xff}} {
		b := v4(tc.tos)
		if marked := markCE(b); marked != (tc.tos&3 != 0) || b[1] != tc.want {
			t.Errorf("IPv4 %#x: marked %v, %#x", tc.tos, marked, b[1])
		}
		if offload.Fold(offload.Checksum(b, 0)) != 0xffff {
			t.Errorf("IPv4 %#x: wrong checksum", tc.tos)
		}
		b = make([]byte, 40)
		b[0], b[1] = 0x60|tc.tos>>4, tc.tos<<4|0xa // and a flow label
		if marked := markCE(b); marked != (tc.tos&3 != 0) || b[0]<<4|b[1]>>4 != tc.want || b[1]&0xf != 0xa {
			t.Errorf("IPv6 %#x: marked %v, %#x", tc.tos, marked, b[:2])
		}
	}
}

func TestStandingQueueIsSignalled(t *testing.T) {
	now, size := time.Now(), 1400
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i := range bufs {
			sizes[i] = packetTo(bufs[i][offset:], size, 1)
			bufs[i][offset+1] = 0
		}
		return len(bufs), nil
	}}
	tun, _ := newGate(1<<20).sides(plane, &fakeBind{})
	bufs, sizes := buffers(128)
	dropped := func() (n int) {
		if _, err := tun.Read(bufs, sizes, headerSize); err != nil {
			t.Fatal(err)
		}
		for _, size := range sizes {
			if size == 0 {
				n++
			}
		}
		return n
	}
	if n := dropped(); n != 0 {
		t.Errorf("dropped %d of the first batch", n)
	}
	tun.codel.empty = now.Add(-longestInterval)
	if n := dropped(); n != 1 {
		t.Errorf("dropped %d, want one", n)
	}
	if n := dropped(); n != 0 {
		t.Errorf("dropped %d at once after that", n)
	}
	size = 300 // a whole batch has less in it than a super-packet
	tun.codel.next = now
	if n := dropped(); n != 0 || tun.codel.signals != 0 {
		t.Errorf("dropped %d of a batch that may be the whole queue", n)
	}
}
