package inflight

import (
	"encoding/binary"
	"math"
	"time"
)

const (
	// A queue that was never empty for the longest interval stands, and is not a
	// burst (RFC 8289, section 4.3). Where that many packets pass in less time,
	// the bursts that are worth waiting for are as much shorter, down to the
	// shortest interval.
	longestInterval  = 100 * time.Millisecond
	shortestInterval = 10 * time.Millisecond
	intervalPackets  = 4096
	// standing is how many bytes of one batch are clearly more than the largest
	// super-packet, with the headers of its segments.
	standing = 96 << 10
)

// codel keeps the kernel's queue in front of the tunnel short. Where the CPU is
// the bottleneck, TCP would fill it: hundreds of super-packets, since the queue
// of a TUN interface counts packets and not bytes, and every other packet would
// wait behind them for milliseconds. As RFC 8289, it signals congestion to one
// packet after a full interval and then at shrinking distances, until the queue
// was empty once. It has no timestamps to go by; an empty queue is its target.
type codel struct {
	empty    time.Time // when the queue was last seen empty
	packets  int       // read since then
	signals  int       // given since then
	interval time.Duration
	next     time.Time // when to signal next, if it still stands
}

// congested is told of each read of n packets whether more had waited, and
// reports whether one that was read should carry the signal.
func (c *codel) congested(n int, more bool, now time.Time) bool {
	if !more || c.empty.IsZero() {
		*c = codel{empty: now}
		return false
	}
	c.packets += n
	if c.signals == 0 {
		c.interval = now.Sub(c.empty)
		long := c.interval >= longestInterval || c.packets >= intervalPackets && c.interval >= shortestInterval
		if !long {
			return false
		}
	} else if now.Before(c.next) {
		return false
	}
	c.signals++
	c.next = now.Add(time.Duration(float64(c.interval) / math.Sqrt(float64(c.signals))))
	return true
}

// markCE sets "congestion experienced" in an IP packet whose transport knows
// what that means (RFC 3168). It reports false for any other, to be dropped.
func markCE(packet []byte) bool {
	const ce = 3
	if destination(packet) == nil {
		return false
	}
	if packet[0]>>4 == 6 {
		if packet[1]>>4&ce == 0 {
			return false
		}
		packet[1] |= ce << 4
		return true
	}
	if packet[1]&ce == 0 {
		return false
	}
	old := binary.BigEndian.Uint16(packet)
	packet[1] |= ce
	// RFC 1624: HC' = ~(~HC + ~m + m').
	sum := uint32(^binary.BigEndian.Uint16(packet[10:])) + uint32(^old) + uint32(binary.BigEndian.Uint16(packet))
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(packet[10:], ^uint16(sum>>16+sum))
	return true
}
