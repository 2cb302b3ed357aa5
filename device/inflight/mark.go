package inflight

import (
	"crypto/rand"
	"encoding/binary"
)

// Mark is what a packet is known by when it has been sealed.
type Mark uint64

// Marks of packets.
const (
	Unmarked Mark = iota
	Probe         // a request that nobody may fragment
	Answer        // the answer to one of a peer's
)

// origin is where marks are counted from. A buffer may hold anything, so it is random.
var origin = func() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint64(b[:])
}()

// markSpace returns where the mark of a packet lies in its buffer: behind the tag. It is
// nil if there is no room for it.
func markSpace(buf []byte, n int) []byte {
	at := (n+63)&^63 + 64 + tagSize
	if at+tagSize > cap(buf) {
		return nil
	}
	return buf[at : at+tagSize]
}

// Put marks a packet of n bytes in a buffer of the device. It reports whether there was room
// for the mark.
func (m Mark) Put(buf []byte, n int) bool {
	space := markSpace(buf, n)
	if space == nil {
		return false
	}
	binary.NativeEndian.PutUint64(space, origin+uint64(m))
	return true
}

// TakeMark returns the mark of a sealed packet, and removes it.
func TakeMark(sealed []byte) Mark {
	if len(sealed) <= encryptedSize {
		return Unmarked
	}
	space := markSpace(sealed, len(sealed)-encryptedSize)
	if space == nil {
		return Unmarked
	}
	m := Mark(binary.NativeEndian.Uint64(space) - origin)
	if m != Probe && m != Answer {
		return Unmarked
	}
	clear(space)
	return m
}
