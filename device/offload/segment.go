package offload

// MaxHeader is the largest header of a super-packet: room for IPv6 extension
// headers as well as for all IPv4 and TCP options.
const MaxHeader = 256

const (
	flagFIN = 1 << 0
	flagPSH = 1 << 3
	flagACK = 1 << 4
	flagECE = 1 << 6
	flagCWR = 1 << 7
)

// Segmenter cuts one super-packet. Use NewSegmenter.
type Segmenter struct {
	layout  Layout
	segment int // payload size of every packet but the last
	total   int // payload size of all packets together
	count   int // of packets
	// header is the header of all packets. Fields that differ are zero in it.
	header    [MaxHeader]byte
	id        uint16 // IPv4 identification of the first packet
	sequence  uint32 // TCP
	flags     uint8  // TCP
	ip        uint64 // sum of the IPv4 header
	transport uint64 // sum of transport header and pseudo-header
}

// NewSegmenter returns a Segmenter that cuts total bytes of payload, with this
// header, into packets with segment bytes of payload. It copies the header, which
// has l.Header bytes, at most [MaxHeader].
//
// The header may contain IPv4 options or IPv6 extension headers. These can route the
// packet to another address than the destination in the IP header. So the checksum
// field then must hold the sum of the pseudo-header, which Linux leaves there when
// it offloads the checksum.
func NewSegmenter(header []byte, l Layout, segment, total int) Segmenter {
	s := Segmenter{layout: l, segment: segment, total: total, count: 1}
	if segment > 0 && total > segment {
		s.count = (total + segment - 1) / segment
	}
	h := s.header[:l.Header]
	copy(h, header)
	plain := l.Transport == ipv6Header
	if !l.IPv6 {
		plain = l.Transport == ipv4Header
		s.id = big.Uint16(h[4:])
		clear(h[2:6])
		clear(h[10:12])
		s.ip = Checksum(h[:l.Transport], 0)
	}
	t := h[l.Transport:]
	field := t[l.ChecksumOffset():][:2]
	if plain {
		s.transport = l.pseudo(h)
	} else {
		// In ones' complement, subtracting the length is adding its complement.
		s.transport = uint64(big.Uint16(field)) + uint64(^uint16(len(t)+total))
	}
	clear(field)
	if l.Protocol == TCP {
		s.sequence, s.flags = big.Uint32(t[4:]), t[13]
		clear(t[4:8])
		t[13] = 0
	} else {
		clear(t[4:6])
	}
	s.transport = Checksum(t, s.transport)
	return s
}

// Count returns the number of packets.
func (s *Segmenter) Count() int { return s.count }

// Payload returns the payload size of packet i.
func (s *Segmenter) Payload(i int) int {
	if i == s.count-1 {
		return s.total - i*s.segment
	}
	return s.segment
}

// Finish writes the header of packet i to dst and returns the packet's size. The
// payload must already be in dst, behind the place of the header.
func (s *Segmenter) Finish(dst []byte, i int) int {
	l := &s.layout
	size := l.Header + s.Payload(i)
	dst = dst[:size]
	copy(dst, s.header[:l.Header])
	if l.IPv6 {
		big.PutUint16(dst[4:], uint16(size-ipv6Header))
	} else {
		id := s.id + uint16(i)
		big.PutUint16(dst[2:], uint16(size))
		big.PutUint16(dst[4:], id)
		big.PutUint16(dst[10:], ^Fold(s.ip+uint64(uint16(size))+uint64(id)))
	}
	t := dst[l.Transport:]
	length := uint64(uint16(len(t)))
	sum := Checksum(dst[l.Header:], s.transport+length)
	if l.Protocol == TCP {
		big.PutUint16(t[16:], ^Fold(sum+s.finishTCP(t, i)))
		return size
	}
	big.PutUint16(t[4:], uint16(length))
	check := ^Fold(sum + length)
	if check == 0 {
		check = 0xffff // 0 would mean that there is no checksum
	}
	big.PutUint16(t[6:], check)
	return size
}

// finishTCP writes the fields of the TCP header that differ, and returns their sum.
func (s *Segmenter) finishTCP(t []byte, i int) uint64 {
	sequence, flags := s.sequence+uint32(i*s.segment), s.flags
	if i > 0 {
		flags &^= flagCWR
	}
	if i < s.count-1 {
		flags &^= flagFIN | flagPSH
	}
	big.PutUint32(t[4:], sequence)
	t[13] = flags
	return uint64(sequence>>16) + uint64(sequence&0xffff) + uint64(flags)
}
