package inflight

import (
	"sync"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"
)

const (
	// handshakeBurst is how many handshake messages of one batch of datagrams are
	// admitted. More of them within some 100 µs are a flood.
	handshakeBurst = 64
	// handshakeRate is how many are admitted per second while upstream is under
	// load: as many as its workers can answer with cookies at the least.
	handshakeRate = 20_000
)

// handshakeLimit keeps floods of handshake messages out of upstream's queue.
// While upstream is under load it is a token bucket; otherwise each batch of
// datagrams starts with a full one.
//
// Upstream's queue holds 1,024 messages. Each keeps a packet buffer of 64 KiB,
// all of it resident if a large datagram has been in it before. Upstream is under
// load, and answers with cookies, from 128 messages on, so the queue needs to
// hold no more than that.
type handshakeLimit struct {
	mu       sync.Mutex // guards what follows
	tokens   int        // messages
	refilled time.Time  // up to when tokens are accounted for
}

// drop drops (size 0) the handshake messages of a batch that are above the limit.
// It calls underLoad only if there is such a message.
func (l *handshakeLimit) drop(bufs [][]byte, sizes []int, now time.Time, underLoad func() bool) {
	for i, size := range sizes {
		if isHandshake(bufs[i], size) {
			l.dropFrom(i, bufs, sizes, now, underLoad())
			return
		}
	}
}

// dropFrom is drop for the datagrams from first on.
func (l *handshakeLimit) dropFrom(first int, bufs [][]byte, sizes []int, now time.Time, underLoad bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill(now, underLoad)
	for i := first; i < len(sizes); i++ {
		switch {
		case !isHandshake(bufs[i], sizes[i]):
		case l.tokens == 0:
			sizes[i] = 0
		default:
			l.tokens--
		}
	}
}

// refill adds the tokens that have come up since the last call. The caller holds
// mu.
func (l *handshakeLimit) refill(now time.Time, underLoad bool) {
	const each = time.Second / handshakeRate
	more := now.Sub(l.refilled) / each
	if !underLoad || more < 0 || more >= handshakeBurst {
		l.tokens, l.refilled = handshakeBurst, now
		return
	}
	l.tokens = min(l.tokens+int(more), handshakeBurst)
	l.refilled = l.refilled.Add(more * each)
}

// isHandshake reports whether upstream would take a message into its handshake
// queue.
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
