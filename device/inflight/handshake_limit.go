package inflight

import (
	"sync"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"
)

const (
	// doorBatch is how many handshake messages of one batch of datagrams get in.
	// More of them within some 100 µs are a flood.
	doorBatch = 64
	// doorRate is how many get in per second while upstream is under load: what
	// its workers can at least answer with cookies.
	doorRate = 20_000
)

// door keeps floods of handshake messages out of upstream's queue. Each of the
// 1,024 that it holds keeps a packet buffer of 64 KiB, all of it in memory if a
// large datagram has been in it before. Upstream is under load from 128 on, and
// answers with cookies then; that is as many as it takes.
type door struct {
	mu   sync.Mutex // guards what follows
	room int        // messages
	last time.Time  // when room was last added to
}

// admit takes messages of handshakes that are too many out of a batch (size 0).
func (d *door) admit(bufs [][]byte, sizes []int, now time.Time, underLoad func() bool) {
	for i, size := range sizes {
		if isHandshake(bufs[i], size) {
			d.admitFrom(i, bufs, sizes, now, underLoad())
			return
		}
	}
}

// admitFrom is admit from the first message of a handshake on.
func (d *door) admitFrom(first int, bufs [][]byte, sizes []int, now time.Time, underLoad bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refill(now, underLoad)
	for i := first; i < len(sizes); i++ {
		switch {
		case !isHandshake(bufs[i], sizes[i]):
		case d.room == 0:
			sizes[i] = 0
		default:
			d.room--
		}
	}
}

// refill makes the room that there is now. The caller holds mu.
func (d *door) refill(now time.Time, underLoad bool) {
	const each = time.Second / doorRate
	more := now.Sub(d.last) / each
	if !underLoad || more < 0 || more >= doorBatch {
		d.room, d.last = doorBatch, now
		return
	}
	d.room = min(d.room+int(more), doorBatch)
	d.last = d.last.Add(more * each)
}

// isHandshake reports whether a message would get into upstream's queue.
func isHandshake(b []byte, size int) bool {
	switch size {
	case wireguard.MessageInitiationSize:
		return b[0] == wireguard.MessageInitiationType
	case wireguard.MessageResponseSize:
		return b[0] == wireguard.MessageResponseType
	case wireguard.MessageCookieReplySize:
		return b[0] == wireguard.MessageCookieReplyType
	}
	return false
}
