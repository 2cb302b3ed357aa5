package splice

import "testing"

// The first buffer is small, one after a full read is large, and large ones are bounded.
func TestBufferSizes(t *testing.T) {
	var s sizer
	first := s.get()
	s.filled(smallBuffer)
	var busy []*buffer
	for range maxLarge {
		busy = append(busy, s.get())
	}
	beyond := s.get()
	put(busy[0])
	again := s.get()
	s.filled(smallBuffer - 1)
	last := s.get()
	for _, c := range []struct {
		what string
		b    *buffer
		want int
	}{
		{"first", first, smallBuffer},
		{"after a full read", busy[0], largeBuffer},
		{"the last large one", busy[maxLarge-1], largeBuffer},
		{"beyond the bound", beyond, smallBuffer},
		{"after one was put back", again, largeBuffer},
		{"after a read that left room", last, smallBuffer},
	} {
		if len(*c.b) != c.want {
			t.Errorf("%s: %d bytes, want %d", c.what, len(*c.b), c.want)
		}
	}
	for _, b := range append(busy[1:], first, beyond, again, last) {
		put(b)
	}
	put(nil)
	if n := largeInUse.Load(); n != 0 {
		t.Errorf("%d large buffers are in use", n)
	}
}
