package bind

import (
	"bytes"
	"slices"
	"testing"
)

func TestDeal(t *testing.T) {
	for _, tc := range []struct {
		name            string
		length, segment int
		bufs            []int // sizes
		want            []int
		dropped, left   int
	}{
		{"one", 5, 5, []int{9}, []int{5}, 0, 0},
		{"segment larger than all", 5, 7, []int{9}, []int{5}, 0, 0},
		{"equal", 6, 2, []int{2, 2, 2, 2}, []int{2, 2, 2}, 0, 0},
		{"smaller last", 5, 2, []int{2, 2, 2}, []int{2, 2, 1}, 0, 0},
		{"no space for the last two", 7, 2, []int{2, 2}, []int{2, 2}, 0, 3},
		{"too large for one buffer", 6, 3, []int{2, 3}, []int{}, 2, 0},
		{"last fits", 5, 3, []int{2}, []int{2}, 1, 0},
		{"nothing", 0, 0, []int{2}, []int{}, 0, 0},
	} {
		data := make([]byte, tc.length)
		for i := range data {
			data[i] = byte(i + 1)
		}
		m := message{data: data, segment: tc.segment}
		bufs, sizes := buffers(tc.bufs), make([]int, len(tc.bufs))
		before := m.datagrams()
		filled := m.deal(bufs, sizes)
		dropped := before - filled - m.datagrams()
		if !slices.Equal(sizes[:filled], tc.want) || dropped != tc.dropped || len(m.data) != tc.left {
			t.Errorf("%s: %v, %d dropped, %d bytes left", tc.name, sizes[:filled], dropped, len(m.data))
		}
	}
}

func buffers(sizes []int) [][]byte {
	var out [][]byte
	for _, n := range sizes {
		out = append(out, make([]byte, n))
	}
	return out
}

// The datagrams that deal returns for few buffers at a time are those of the whole
// message.
func FuzzDeal(f *testing.F) {
	f.Add([]byte("one two three four"), 4, []byte{4, 4})
	f.Add([]byte("one two three four"), 4, []byte{4, 3, 9})
	f.Add([]byte{}, 0, []byte{0})
	f.Fuzz(func(t *testing.T, data []byte, segment int, space []byte) {
		if len(data) == 0 {
			segment = 0
		} else if segment < 1 {
			segment = len(data)
		}
		if len(space) == 0 {
			return
		}
		bufs, sizes := make([][]byte, len(space)), make([]int, len(space))
		for i, n := range space {
			bufs[i] = make([]byte, n)
		}
		m := message{data: data, segment: segment}
		count, want := m.datagrams(), slices.Collect(slices.Chunk(data, max(1, segment)))
		if count != len(want) {
			t.Fatalf("%d datagrams, want %d", count, len(want))
		}
		for len(m.data) > 0 {
			before := m.datagrams()
			filled := m.deal(bufs, sizes)
			dropped := before - filled - m.datagrams()
			for i := range filled {
				// A datagram that did not fit buffer i was dropped.
				for len(want[0]) > len(bufs[i]) {
					want, dropped = want[1:], dropped-1
				}
				if !bytes.Equal(bufs[i][:sizes[i]], want[0]) {
					t.Fatalf("got %q, want %q", bufs[i][:sizes[i]], want[0])
				}
				want = want[1:]
			}
			if dropped < 0 || filled < len(bufs) && len(want) != dropped {
				t.Fatalf("%d datagrams unaccounted for, %d of them dropped", len(want), dropped)
			}
			want = want[dropped:]
		}
		if len(want) != 0 {
			t.Errorf("%d datagrams are missing", len(want))
		}
	})
}
