package rpc

import "sync"

// chunk is a part of a buffer.
type chunk struct {
	next        *chunk
	read, wrote int
	data        [16<<10 - 24]byte // 16 KB for the allocator
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// buffer is what was received and not yet read. The lock of the connection guards it,
// except for the room that the reader fills.
type buffer struct {
	first, last *chunk
	size        int
	filling     bool
}

// room returns where to write the next bytes. The writer calls wrote when they are there.
func (b *buffer) room() []byte {
	if b.last == nil || b.last.wrote == len(b.last.data) {
		c := chunks.Get().(*chunk)
		if b.last == nil {
			b.first = c
		} else {
			b.last.next = c
		}
		b.last = c
	}
	b.filling = true
	return b.last.data[b.last.wrote:]
}

func (b *buffer) wrote(n int) {
	b.last.wrote += n
	b.size += n
	b.filling = false
}

// take moves bytes to p, and returns how many.
func (b *buffer) take(p []byte) (n int) {
	for n < len(p) && b.first != nil {
		c := b.first
		k := copy(p[n:], c.data[c.read:c.wrote])
		c.read += k
		n += k
		if c.read < c.wrote || c == b.last && b.filling {
			break
		}
		if b.first = c.next; b.first == nil {
			b.last = nil
		}
		c.next, c.read, c.wrote = nil, 0, 0
		chunks.Put(c)
	}
	b.size -= n
	return n
}

// drop forgets what is there. The reader may still be filling room, so the chunks are not
// used again.
func (b *buffer) drop() { *b = buffer{} }
