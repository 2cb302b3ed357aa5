package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Limits bounds what clients can take. Zero means the default.
type Limits struct {
	Connections  int           // open at once, over all listeners; 2048
	Associations int           // UDP associations at once, each a connection as well; 256
	Handshake    time.Duration // greeting and authentication, or the head of a request; 10 s
	Dial         time.Duration // until a destination has answered; 30 s
	Idle         time.Duration // nothing moved on a connection or association; 2 h, negative: forever
	HeaderBytes  int           // head of an HTTP request, or of a response; 32 KiB
}

// Bounds that are not configurable.
const (
	keepAlive     = 2 * time.Minute  // HTTP: how long a client may wait before its next request
	unusedTime    = 30 * time.Second // HTTP: how long a connection to a server is kept for the next request
	unusedPerHost = 4
	unusedInAll   = 64
	continueTime  = time.Second // HTTP: how long a body waits for the server's 100 Continue
	drainTime     = time.Second // how long a client that was refused may go on sending
	drainBytes    = 64 << 10    // and how much
	retryAccept   = time.Second // the longest pause after a failed accept
	minHeader     = 1 << 10     // of Limits.HeaderBytes
	maxHeader     = 1 << 20     // of Limits.HeaderBytes
	maxDatagram   = 65507       // the largest that UDP over IPv4 carries
	copyBuffer    = 32 << 10    // HTTP: body of a response
	logPause      = time.Minute // between two warnings that a limit is reached
	firstHeadRead = 2 << 10     // HTTP: buffer for a head, before it grows
	maxCredential = 255         // RFC 1929: bytes of a user name or a password
)

// withDefaults returns l with nothing left zero.
func (l Limits) withDefaults() (Limits, error) {
	if l.Connections < 0 || l.Associations < 0 || l.Handshake < 0 || l.Dial < 0 || l.HeaderBytes < 0 {
		return l, errors.New("proxy: a limit is negative; only Idle may be")
	}
	l.Connections = cmp.Or(l.Connections, 2048)
	l.Associations = cmp.Or(l.Associations, 256)
	l.Handshake = cmp.Or(l.Handshake, 10*time.Second)
	l.Dial = cmp.Or(l.Dial, 30*time.Second)
	l.Idle = max(0, cmp.Or(l.Idle, 2*time.Hour))
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 32<<10)
	if l.HeaderBytes < minHeader || l.HeaderBytes > maxHeader {
		return l, fmt.Errorf("proxy: HeaderBytes is %d, not between %d and %d", l.HeaderBytes, minHeader, maxHeader)
	}
	return l, nil
}
