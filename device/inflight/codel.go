package inflight

import (
	"encoding/binary"
	"math"
	"time"
)

const (
	// A queue that was never empty for longestInterval is a standing queue and not
	// a burst (RFC 8289, section 4.3). Where intervalPackets pass in less time, the
	// bursts worth waiting for are shorter, too, down to shortestInterval.
	longestInterval  = 100 * time.Millisecond
	shortestInterval = 10 * time.Millisecond
	intervalPackets  = 4096
	// standingBytes is clearly more than the largest super-packet with the headers
	// of its segments. A batch with more bytes means that a queue stands.
	standingBytes = 96 << 10
)

// codel keeps the kernel's queue in front of the tunnel short.
//
// Where the CPU is the bottleneck, TCP fills that queue. A TUN's queue counts
// packets and not bytes, so it holds hundreds of super-packets, and every other
// packet waits behind them for milliseconds. As in RFC 8289, codel signals
// congestion to one packet after a full interval and then at shrinking distances,
// until the queue was empty once. There are no timestamps of packets to go by, so
// the target is an empty queue instead of a sojourn time.
type codel struct {
	empty    time.Time // when the queue was last seen empty
	packets  int       // read since then
	signals  int       // given since then
	interval time.Duration
	next     time.Time // of the next signal, if the queue still stands
}

// congested reports whether one packet of a batch should carry a congestion
// signal. It is called for each batch, with the number of its packets and whether
// the queue stood.
func (c *codel) congested(packets int, standing bool, now time.Time) bool {
	if !standing || c.empty.IsZero() {
		*c = codel{empty: now}
		return false
	}
	c.packets += packets
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

// markCE sets the ECN field of an IP packet to "congestion experienced" (RFC
// 3168). It returns false if the packet's transport does not support ECN. The
// caller drops such a packet instead.
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
