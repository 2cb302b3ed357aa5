package clamp

import (
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/wirespan/wirespan/device/offload"
)

const (
	protoICMP   = 1
	protoICMPv6 = 58
	icmpHeader  = 8
	// quoted is how much of a packet a message about it quotes at most.
	quoted = 512
	// headroom is in front of a message, for the data plane.
	headroom = 64
	// tellEvery is the least time between two messages.
	tellEvery = 10 * time.Millisecond
	// smallest is the size that every path takes.
	smallest = 512
)

// teller tells the senders of packets other than TCP that these are too large. A packet
// goes on nevertheless: outside it may be fragmented.
type teller struct {
	buf  [headroom + ipv6.HeaderLen + icmpHeader + quoted]byte
	last time.Time
}

// tell returns a message to the sender of a packet, with offset headroom; nil if there is
// none to send: the sender may fragment it itself if it is IPv4 without the DF flag, and
// IPv6 knows no MTU below 1280.
func (t *teller) tell(b []byte, limit int, now time.Time) []byte {
	v6 := b[0]>>4 == 6
	switch {
	case now.Sub(t.last) < tellEvery, isICMP(b):
		return nil
	case v6 && limit < 1280, !v6 && (b[6]&0x40 == 0 || big.Uint16(b[6:])&0x1fff != 0):
		return nil
	}
	t.last = now
	header := ipv4.HeaderLen
	if v6 {
		header = ipv6.HeaderLen
	}
	packet := t.buf[headroom:][:header+icmpHeader+min(len(b), quoted)]
	clear(packet[:header+icmpHeader])
	msg := packet[header:]
	copy(msg[icmpHeader:], b)
	var pseudo uint64
	if v6 {
		packet[0], packet[6], packet[7] = 0x60, protoICMPv6, 64
		big.PutUint16(packet[4:], uint16(len(msg)))
		copy(packet[8:24], b[24:40])
		copy(packet[24:40], b[8:24])
		pseudo = offload.Checksum(packet[8:header], uint64(len(msg))+protoICMPv6)
		msg[0] = byte(ipv6.ICMPTypePacketTooBig)
		big.PutUint32(msg[4:], uint32(limit))
	} else {
		packet[0], packet[8], packet[9] = 0x45, 64, protoICMP
		big.PutUint16(packet[2:], uint16(len(packet)))
		copy(packet[12:16], b[16:20])
		copy(packet[16:20], b[12:16])
		big.PutUint16(packet[10:], ^offload.Fold(offload.Checksum(packet[:header], 0)))
		msg[0], msg[1] = byte(ipv4.ICMPTypeDestinationUnreachable), 4 // fragmentation needed
		big.PutUint16(msg[6:], uint16(limit))
	}
	big.PutUint16(msg[2:], ^offload.Fold(offload.Checksum(msg, pseudo)))
	return t.buf[:headroom+len(packet)]
}

// isICMP reports whether a packet is ICMP. There must be no message about most of these
// (RFC 1122, RFC 4443), and none about the device's own probes.
func isICMP(b []byte) bool {
	if b[0]>>4 == 6 {
		return b[6] == protoICMPv6
	}
	return b[9] == protoICMP
}

// destination returns where a packet goes; nil if it is too short.
func destination(b []byte) []byte {
	switch {
	case len(b) >= ipv4.HeaderLen && b[0]>>4 == 4:
		return b[16:20]
	case len(b) >= ipv6.HeaderLen && b[0]>>4 == 6:
		return b[24:40]
	}
	return nil
}
