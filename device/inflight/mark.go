package inflight

import (
	"crypto/rand"
	"encoding/binary"
)

// mark says that a packet is marked. A buffer may hold anything, so it is random.
var mark = func() uint64 {
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

// Mark marks a packet of n bytes in a buffer of the device, so that it is known again when
// it has been sealed. It reports whether there was room for the mark.
func Mark(buf []byte, n int) bool {
	space := markSpace(buf, n)
	if space == nil {
		return false
	}
	binary.NativeEndian.PutUint64(space, mark)
	return true
}

// TakeMark reports whether a sealed packet was marked, and removes the mark.
func TakeMark(sealed []byte) bool {
	if len(sealed) <= encryptedSize {
		return false
	}
	space := markSpace(sealed, len(sealed)-encryptedSize)
	if space == nil || binary.NativeEndian.Uint64(space) != mark {
		return false
	}
	clear(space)
	return true
}
