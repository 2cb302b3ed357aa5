package offload

import (
	"encoding/binary"
	"math/rand/v2"
)

// spec describes a packet. With a payload and all other fields zero, it is a plain
// segment of a TCP stream over IPv4.
type spec struct {
	v6, udp    bool
	flow       byte // flows differ in port and address
	seq, ack   uint32
	flags      byte // 0: ACK
	window     uint16
	options    []byte // TCP
	tos, ttl   byte
	id         uint16
	fragment   uint16 // flags and offset
	label      uint16
	ipOptions  []byte
	extensions []byte // IPv6: content of a hop-by-hop header
	payload    []byte
	noChecksum bool // UDP
}

func (s spec) header() ([]byte, Layout) {
	l := Layout{IPv6: s.v6, Protocol: TCP}
	if s.udp {
		l.Protocol = UDP
	}
	var h []byte
	if s.v6 {
		h = make([]byte, 40)
		h[0], h[1] = 6<<4|s.tos>>4, s.tos<<4
		binary.BigEndian.PutUint16(h[2:], s.label)
		h[6], h[7] = l.Protocol, 64-s.ttl
		h[8], h[23], h[24], h[39] = 0xfd, 1, 0xfd, 2+s.flow
		if s.extensions != nil {
			h[6] = 0
			h = append(h, l.Protocol, byte(len(s.extensions)/8))
			h = append(h, s.extensions...)
		}
	} else {
		h = make([]byte, 20, 128)
		h[0], h[1] = 4<<4|byte(5+len(s.ipOptions)/4), s.tos
		binary.BigEndian.PutUint16(h[4:], s.id)
		binary.BigEndian.PutUint16(h[6:], s.fragment)
		h[8], h[9] = 64-s.ttl, l.Protocol
		copy(h[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2 + s.flow})
		h = append(h, s.ipOptions...)
	}
	l.Transport = len(h)
	t := make([]byte, 8, 60)
	if !s.udp {
		t = t[:20]
		binary.BigEndian.PutUint32(t[4:], s.seq)
		binary.BigEndian.PutUint32(t[8:], s.ack)
		t[12], t[13] = byte(5+len(s.options)/4)<<4, s.flags
		if s.flags == 0 {
			t[13] = flagACK
		}
		binary.BigEndian.PutUint16(t[14:], s.window)
		t = append(t, s.options...)
	}
	binary.BigEndian.PutUint16(t, 1000+uint16(s.flow))
	binary.BigEndian.PutUint16(t[2:], 443)
	h = append(h, t...)
	l.Header = len(h)
	return h, l
}

// packet returns the whole packet, with correct lengths and checksums.
func (s spec) packet() []byte {
	h, l := s.header()
	p := append(h, s.payload...)
	fix(p, l)
	if s.noChecksum {
		clear(p[l.Transport+6 : l.Transport+8])
	}
	return p
}

// fix sets lengths and checksums. It is a reference: it computes word by word.
func fix(p []byte, l Layout) {
	transport := p[l.Transport:]
	pseudo := binary.BigEndian.AppendUint32(nil, uint32(len(transport)))
	pseudo = append(pseudo, 0, l.Protocol)
	if l.IPv6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
		pseudo = append(pseudo, p[8:40]...)
	} else {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		clear(p[10:12])
		binary.BigEndian.PutUint16(p[10:], ^slowSum(p[:l.Transport]))
		pseudo = append(pseudo, p[12:20]...)
	}
	at := 16
	if l.Protocol == UDP {
		at = 6
		binary.BigEndian.PutUint16(transport[4:], uint16(len(transport)))
	}
	clear(transport[at : at+2])
	sum := ^slowSum(append(pseudo, transport...))
	if sum == 0 && l.Protocol == UDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(transport[at:], sum)
}

func slowSum(b []byte) uint16 {
	sum := 0
	for i, c := range b {
		sum += int(c) << (8 * (1 - i%2))
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// split returns the packets of a super-packet. It is a reference: it builds them one
// by one.
func split(super []byte, l Layout, segment int) [][]byte {
	var out [][]byte
	payload := super[l.Header:]
	for i := 0; i == 0 || len(payload) > 0; i++ {
		n := min(segment, len(payload))
		p := append(append([]byte(nil), super[:l.Header]...), payload[:n]...)
		payload = payload[n:]
		if !l.IPv6 {
			binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(super[4:])+uint16(i))
		}
		if l.Protocol == TCP {
			t := p[l.Transport:]
			binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(i*segment))
			if i > 0 {
				t[13] &^= flagCWR
			}
			if len(payload) > 0 {
				t[13] &^= flagFIN | flagPSH
			}
		}
		fix(p, l)
		out = append(out, p)
	}
	return out
}

// random returns n random bytes.
func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
