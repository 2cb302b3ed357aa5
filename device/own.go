package device

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	protoUDP      = 17
	protoFragment = 44 // header of an IPv6 fragment
	fragmentSize  = 8
	// localTime is how long the answer to whether an address is local holds.
	localTime = time.Second
)

// hostStack is an Interface of the IP stack that the device's UDP socket belongs to.
type hostStack interface {
	Interface
	// Local reports whether an address is one of the host's.
	Local(addr netip.Addr) bool
}

// refuser drops the device's own encrypted datagrams when the host routes them into
// the tunnel, as when another program rewrites their mark. If they were encrypted
// again, they would go round without end. A datagram is the device's own if its
// source is the UDP port that the device listens on, at an address of the host.
type refuser struct {
	hostStack
	port    func() uint16
	refused atomic.Uint64

	known [2]localAnswer // by IP version; owned by Read
}

// localAnswer is whether an address is local, as last asked.
type localAnswer struct {
	addr  netip.Addr
	local bool
	until time.Time
}

// Read returns own datagrams with size 0, which drops them.
func (r *refuser) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := r.hostStack.Read(bufs, sizes, offset)
	port := r.port()
	for i, size := range sizes[:n] {
		if from, ok := udpSource(bufs[i][offset : offset+size]); ok && from.Port() == port && r.isLocal(from.Addr()) {
			sizes[i] = 0
			r.refused.Add(1)
		}
	}
	return n, err
}

// isLocal asks the host at most once in localTime about the last address of an IP
// version: a tunnel behind this host may use the same port.
func (r *refuser) isLocal(addr netip.Addr) bool {
	k := &r.known[0]
	if addr.Is6() {
		k = &r.known[1]
	}
	if now := time.Now(); k.addr != addr || now.After(k.until) {
		*k = localAnswer{addr, r.Local(addr), now.Add(localTime)}
	}
	return k.local
}

// udpSource returns the source of a UDP datagram, or of its first fragment. Of any
// other packet, and of one with extension headers, ok is false.
func udpSource(packet []byte) (from netip.AddrPort, ok bool) {
	var addr netip.Addr
	var datagram []byte
	switch {
	case len(packet) >= ipv4.HeaderLen && packet[0]>>4 == 4:
		header := int(packet[0]&15) * 4
		if packet[9] != protoUDP || packet[6]&0x1f != 0 || packet[7] != 0 || len(packet) < header {
			return from, false
		}
		addr, datagram = netip.AddrFrom4([4]byte(packet[12:16])), packet[header:]
	case len(packet) >= ipv6.HeaderLen && packet[0]>>4 == 6:
		addr, datagram = netip.AddrFrom16([16]byte(packet[8:24])), packet[ipv6.HeaderLen:]
		next := packet[6]
		if next == protoFragment && len(datagram) >= fragmentSize && binary.BigEndian.Uint16(datagram[2:])>>3 == 0 {
			next, datagram = datagram[0], datagram[fragmentSize:]
		}
		if next != protoUDP {
			return from, false
		}
	}
	if len(datagram) < 2 {
		return from, false
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(datagram)), true
}
