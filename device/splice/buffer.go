package splice

import (
	"sync"
	"sync/atomic"
)

// Sizes of buffers. A direction that fills a small one has more waiting: with a large one it
// moves that with a quarter of the reads, writes and wake-ups. Large ones are bounded, as a
// consumer that stops to read keeps its buffer; beyond the bound there are small ones.
const (
	smallBuffer = 32 << 10
	largeBuffer = 128 << 10
	maxLarge    = 32 // 4 MiB
)

type buffer []byte

var (
	smallBuffers = sync.Pool{New: func() any { b := make(buffer, smallBuffer); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make(buffer, largeBuffer); return &b }}
	largeInUse   atomic.Int32
)

// sizer provides the buffers of one direction.
type sizer struct{ large bool }

// get returns a buffer, which put takes back.
func (s *sizer) get() *buffer {
	if s.large {
		if largeInUse.Add(1) <= maxLarge {
			return largeBuffers.Get().(*buffer)
		}
		largeInUse.Add(-1)
	}
	return smallBuffers.Get().(*buffer)
}

// filled tells how much the last read has got.
func (s *sizer) filled(n int) { s.large = n >= smallBuffer }

func put(b *buffer) {
	switch {
	case b == nil:
	case len(*b) == largeBuffer:
		largeBuffers.Put(b)
		largeInUse.Add(-1)
	default:
		smallBuffers.Put(b)
	}
}
