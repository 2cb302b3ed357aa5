package tun

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/offload"
)

// segment describes a packet of a stream, or a super-packet of it.
type segment struct {
	v6, udp bool
	flow    byte
	seq     uint32
	id      uint16
	flags   byte // TCP; 0: ACK
	options int  // bytes of TCP options
	hops    int  // bytes of an IPv6 header before TCP
	payload []byte
}

// packet returns the packet without its checksums, and its layout.
func (s segment) packet() ([]byte, offload.Layout) {
	l := offload.Layout{IPv6: s.v6, Protocol: offload.TCP}
	if s.udp {
		l.Protocol = offload.UDP
	}
	p := make([]byte, 20, 128)
	if s.v6 {
		p = p[:40]
		p[0], p[6], p[7] = 0x60, l.Protocol, 64
		copy(p[8:], []byte{0xfd, 1, 15: 2, 16: 0xfd, 2, 31: s.flow})
		if s.hops > 0 {
			p[6] = 0
			p = append(p, l.Protocol, byte(s.hops/8-1), 1, byte(s.hops-4))
			p = append(p, make([]byte, s.hops-4)...)
		}
	} else {
		p[0], p[6], p[8], p[9] = 0x45, 0x40, 64, l.Protocol
		binary.BigEndian.PutUint16(p[4:], s.id)
		copy(p[12:], []byte{10, 1, 0, 2, 10, 2, 0, s.flow})
	}
	l.Transport = len(p)
	t := make([]byte, 20+s.options)
	if s.udp {
		t = t[:8]
	} else {
		binary.BigEndian.PutUint32(t[4:], s.seq)
		t[12], t[13] = byte(5+s.options/4)<<4, 0x10
		if s.flags != 0 {
			t[13] = s.flags
		}
		for i := range t[20:] {
			t[20+i] = 1
		}
	}
	binary.BigEndian.PutUint16(t, 1000+uint16(s.flow))
	binary.BigEndian.PutUint16(t[2:], 443)
	p = append(append(p, t...), s.payload...)
	l.Header = l.Transport + len(t)
	if s.v6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	} else {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	}
	if s.udp {
		binary.BigEndian.PutUint16(p[l.Transport+4:], uint16(len(p)-l.Transport))
	}
	return p, l
}

// sum returns the checksum of a packet's transport header, payload and pseudo-header:
// zero if the checksum in the packet is right. It is a reference, and computes byte by
// byte.
func sum(p []byte, l offload.Layout) uint16 {
	addresses := p[12:20]
	if l.IPv6 {
		addresses = p[8:40]
	}
	total := int(l.Protocol) + len(p) - l.Transport
	for _, b := range [][]byte{addresses, p[l.Transport:]} {
		for i, c := range b {
			total += int(c) << (8 * (1 - i%2))
		}
	}
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	return ^uint16(total)
}

// finish sets the checksums. With partial, the transport checksum is only the sum of
// the pseudo-header.
func finish(p []byte, l offload.Layout, partial bool) []byte {
	if !l.IPv6 {
		clear(p[10:12])
		binary.BigEndian.PutUint16(p[10:], ^offload.Fold(offload.Checksum(p[:l.Transport], 0)))
	}
	field := p[l.Transport+l.ChecksumOffset():][:2]
	clear(field)
	if partial {
		header := append([]byte(nil), p[:l.Transport]...)
		binary.BigEndian.PutUint16(field, ^sum(append(header, make([]byte, len(p)-l.Transport)...), l))
		return p
	}
	check := sum(p, l)
	if check == 0 && l.Protocol == offload.UDP {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(field, check)
	return p
}

// whole returns the packet as it is on the wire.
func (s segment) whole() []byte {
	p, l := s.packet()
	return finish(p, l, false)
}

// super returns what the kernel hands over for a super-packet: a virtio header, and the
// packet with a partial checksum.
func (s segment) super(size int) []byte {
	p, l := s.packet()
	h := virtio{
		partial: true, gso: unix.VIRTIO_NET_HDR_GSO_TCPV4,
		header: l.Header, segment: size, start: l.Transport, offset: l.ChecksumOffset(),
	}
	switch {
	case s.udp:
		h.gso = unix.VIRTIO_NET_HDR_GSO_UDP_L4
	case s.v6:
		h.gso = unix.VIRTIO_NET_HDR_GSO_TCPV6
	}
	out := make([]byte, virtioSize, virtioSize+len(p))
	h.encode(out)
	return append(out, finish(p, l, true)...)
}

// single returns the packet behind an empty virtio header.
func (s segment) single() []byte { return append(make([]byte, virtioSize), s.whole()...) }

// cut returns the packets of a super-packet.
func (s segment) cut(size int) [][]byte {
	var out [][]byte
	rest := s.payload
	for i := 0; len(rest) > 0; i++ {
		c := s
		c.payload, rest = rest[:min(size, len(rest))], rest[min(size, len(rest)):]
		c.seq += uint32(i * size)
		c.id += uint16(i)
		if len(rest) > 0 {
			c.flags &^= 0x09
		}
		out = append(out, c.whole())
	}
	return out
}

// numbered returns n bytes that depend on their position.
func numbered(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}

// pair returns a TUN whose kernel is a socket that exchanges whole messages, and that
// socket.
func pair(t testing.TB, mode mode) (*TUN, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds { // room for a few super-packets
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	n, err := assemble(fds[0], "pair", mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = n.file.Close(), unix.Close(fds[1]) })
	return n, fds[1]
}

// buffers returns n buffers and sizes for a batch.
func buffers(n, size int) ([][]byte, []int) {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	return bufs, make([]int, n)
}
