package offload

import "encoding/binary"

// Protocol numbers.
const (
	TCP = 6
	UDP = 17
)

const (
	// MaxPacket is the largest size of a super-packet, headers included.
	MaxPacket = 65535

	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20
	udpHeader  = 8

	icmpv6 = 58
)

var big = binary.BigEndian

// Layout describes where the headers of a TCP or UDP packet are.
type Layout struct {
	IPv6      bool
	Protocol  uint8 // TCP or UDP
	Transport int   // offset of the TCP or UDP header
	Header    int   // offset of the payload
}

// Parse returns the layout of a packet, if coalescing may touch it: TCP or UDP
// directly after an IPv4 header without options or after an IPv6 header, not a
// fragment, complete, and with nothing behind it.
func Parse(packet []byte) (l Layout, ok bool) {
	if len(packet) < ipv4Header+udpHeader || len(packet) > MaxPacket {
		return Layout{}, false
	}
	switch {
	case packet[0] == 4<<4|ipv4Header/4:
		whole := big.Uint16(packet[6:])&0x3fff == 0 // neither more fragments nor an offset
		if !whole || int(big.Uint16(packet[2:])) != len(packet) {
			return Layout{}, false
		}
		l = Layout{Protocol: packet[9], Transport: ipv4Header}
	case packet[0]>>4 == 6:
		if len(packet) < ipv6Header+udpHeader || int(big.Uint16(packet[4:])) != len(packet)-ipv6Header {
			return Layout{}, false
		}
		l = Layout{IPv6: true, Protocol: packet[6], Transport: ipv6Header}
	default:
		return Layout{}, false
	}
	return l, l.findPayload(packet)
}

// findPayload sets l.Header. It reports whether the transport header is valid.
func (l *Layout) findPayload(packet []byte) bool {
	transport := packet[l.Transport:]
	switch l.Protocol {
	case TCP:
		if len(transport) < tcpHeader {
			return false
		}
		length := int(transport[12]>>4) * 4
		l.Header = l.Transport + length
		return length >= tcpHeader && length <= len(transport)
	case UDP:
		l.Header = l.Transport + udpHeader
		return len(transport) >= udpHeader && int(big.Uint16(transport[4:])) == len(transport)
	}
	return false
}

// ChecksumOffset returns the offset of the checksum in the transport header.
func (l Layout) ChecksumOffset() int {
	if l.Protocol == TCP {
		return 16
	}
	return 6
}

// pseudo returns the sum of a packet's pseudo-header without the length.
func (l Layout) pseudo(packet []byte) uint64 {
	if l.IPv6 {
		return Checksum(packet[8:40], uint64(l.Protocol))
	}
	return Checksum(packet[12:20], uint64(l.Protocol))
}
