package tun

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/offload"
)

// virtioSize is the size of a virtio-net header.
const virtioSize = 10

// virtio is a virtio-net header, which describes a packet's checksum and segments.
// The header length in it is only a hint, and wrong for packets that the kernel
// forwards.
type virtio struct {
	partial       bool // the checksum must be completed
	gso           uint8
	header        int
	segment       int
	start, offset int // where the checksummed part begins; of the checksum in it
}

func (h *virtio) decode(b []byte) {
	native := binary.NativeEndian
	*h = virtio{
		partial: b[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0,
		gso:     b[1] &^ unix.VIRTIO_NET_HDR_GSO_ECN, // segments take the flags from the first packet
		header:  int(native.Uint16(b[2:])),
		segment: int(native.Uint16(b[4:])),
		start:   int(native.Uint16(b[6:])),
		offset:  int(native.Uint16(b[8:])),
	}
}

func (h *virtio) encode(b []byte) {
	native := binary.NativeEndian
	b[0], b[1] = 0, h.gso
	if h.partial {
		b[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	}
	native.PutUint16(b[2:], uint16(h.header))
	native.PutUint16(b[4:], uint16(h.segment))
	native.PutUint16(b[6:], uint16(h.start))
	native.PutUint16(b[8:], uint16(h.offset))
}

// super returns the header of the super-packet that a run of packets makes.
func super(r *offload.Run) virtio {
	l := r.Layout
	h := virtio{
		partial: true, gso: unix.VIRTIO_NET_HDR_GSO_TCPV4,
		header: l.Header, segment: r.Segment, start: l.Transport, offset: l.ChecksumOffset(),
	}
	switch {
	case l.Protocol == offload.UDP:
		h.gso = unix.VIRTIO_NET_HDR_GSO_UDP_L4
	case l.IPv6:
		h.gso = unix.VIRTIO_NET_HDR_GSO_TCPV6
	}
	return h
}

// layout returns the layout of a super-packet. Without a partial checksum, the virtio
// header does not say where the packet's headers are. Then the packet must be one
// that offload.Parse accepts.
func (h *virtio) layout(packet []byte) (offload.Layout, bool) {
	if h.segment == 0 || len(packet) == 0 {
		return offload.Layout{}, false
	}
	l := offload.Layout{IPv6: packet[0]>>4 == 6, Protocol: offload.TCP, Transport: h.start}
	shortest := 20
	if l.IPv6 {
		shortest = 40
	}
	switch {
	case h.gso == unix.VIRTIO_NET_HDR_GSO_TCPV4 && packet[0]>>4 == 4:
	case h.gso == unix.VIRTIO_NET_HDR_GSO_TCPV6 && l.IPv6:
	case h.gso == unix.VIRTIO_NET_HDR_GSO_UDP_L4 && (l.IPv6 || packet[0]>>4 == 4):
		l.Protocol = offload.UDP
	default:
		return offload.Layout{}, false
	}
	if !h.partial {
		parsed, ok := offload.Parse(packet)
		return parsed, ok && parsed.Protocol == l.Protocol
	}
	if h.start < shortest || h.offset != l.ChecksumOffset() || len(packet) < h.start+20 && l.Protocol == offload.TCP {
		return offload.Layout{}, false
	}
	length := 8
	if l.Protocol == offload.TCP {
		length = int(packet[h.start+12]>>4) * 4
		if length < 20 {
			return offload.Layout{}, false
		}
	}
	l.Header = l.Transport + length
	return l, l.Header <= min(len(packet), offload.MaxHeader)
}

// complete completes the partial checksum of a packet. It returns false if the
// checksum would lie outside the packet.
func (h *virtio) complete(packet []byte) bool {
	if h.start+h.offset+2 > len(packet) {
		return false
	}
	// The field holds the sum of the pseudo-header, so it is part of the sum.
	sum := ^offload.Fold(offload.Checksum(packet[h.start:], 0))
	if sum == 0 {
		sum = 0xffff // the same in ones' complement; in UDP, 0 means no checksum
	}
	binary.BigEndian.PutUint16(packet[h.start+h.offset:], sum)
	return true
}
