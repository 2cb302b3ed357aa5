package bind

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// controlSize has room for the two control messages that go with a datagram: the
// local address (at most 20 bytes of data) and the segment size (at most 4).
const controlSize = 64

// control is the content of the control messages of a received message.
type control struct {
	src     [16]byte // local address; IPv4 in the first four bytes
	ifindex uint32
	segment int // size of each coalesced datagram but the last; 0 for a single one
}

// parseControl parses control messages that the kernel wrote. It skips unknown ones
// and stops at a malformed one.
func parseControl(b []byte) control {
	var c control
	for len(b) >= unix.SizeofCmsghdr {
		n := controlLen(b)
		if n < unix.SizeofCmsghdr || n > uint64(len(b)) {
			break
		}
		level := binary.NativeEndian.Uint32(b[unix.SizeofCmsghdr-8:])
		kind := binary.NativeEndian.Uint32(b[unix.SizeofCmsghdr-4:])
		data := b[min(unix.CmsgLen(0), int(n)):n]
		switch {
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			c.ifindex = binary.NativeEndian.Uint32(data)
			copy(c.src[:4], data[4:8]) // ipi_spec_dst
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			copy(c.src[:], data)
			c.ifindex = binary.NativeEndian.Uint32(data[16:])
		case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(data) >= 4:
			c.segment = max(0, int(int32(binary.NativeEndian.Uint32(data))))
		}
		b = b[min(unix.CmsgSpace(int(n)-unix.CmsgLen(0)), len(b)):]
	}
	return c
}

// controlLen returns the field cmsg_len, a size_t.
func controlLen(b []byte) uint64 {
	if unix.SizeofCmsghdr == 16 {
		return binary.NativeEndian.Uint64(b)
	}
	return uint64(binary.NativeEndian.Uint32(b))
}

// putControl writes the header of a control message with n bytes of data. It
// returns the place of the data and the space that the whole message takes.
func putControl(b []byte, level, kind uint32, n int) (data []byte, space int) {
	if unix.SizeofCmsghdr == 16 {
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(n)))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(unix.CmsgLen(n)))
	}
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-8:], level)
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-4:], kind)
	return b[unix.CmsgLen(0):unix.CmsgLen(n)], unix.CmsgSpace(n)
}

// putSource writes a control message that has the kernel send from src by the
// interface with that index. It returns the space it takes.
func putSource(b []byte, src netip.Addr, ifindex uint32) int {
	if src.Is4() {
		data, space := putControl(b, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		binary.NativeEndian.PutUint32(data, ifindex)
		a := src.As4()
		copy(data[4:8], a[:])
		return space
	}
	data, space := putControl(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	a := src.As16()
	copy(data, a[:])
	binary.NativeEndian.PutUint32(data[16:], ifindex)
	return space
}

// putSegment writes a control message that has the kernel cut the message into
// datagrams of that size. It returns the space it takes.
func putSegment(b []byte, size int) int {
	data, space := putControl(b, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return space
}
