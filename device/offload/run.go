package offload

import "bytes"

// start returns a run of one packet. A packet that was not parsed stays alone.
func start(packet []byte, l Layout, parsed bool) Run {
	r := Run{Layout: l, count: 1, Size: len(packet), closed: true}
	if !parsed {
		return r
	}
	r.Segment = len(packet) - l.Header
	t := packet[l.Transport:]
	switch {
	case r.Segment == 0:
	case l.Protocol == TCP:
		r.closed = t[13]&^flagECE != flagACK
	default:
		r.closed = big.Uint16(t[6:]) == 0 // has no checksum, as a super-packet would
	}
	return r
}

// join adds a packet of the same flow to the run, or closes the run and returns
// false. first is the run's first packet. The conditions are those of Linux' GRO.
func (r *Run) join(packet []byte, l Layout, first []byte) bool {
	payload := len(packet) - l.Header
	if r.closed || l != r.Layout || payload == 0 || payload > r.Segment || r.Size+payload > MaxPacket {
		r.closed = true
		return false
	}
	t := packet[l.Transport:l.Header]
	joins := r.continuesIP(packet, first)
	if l.Protocol == TCP {
		joins = joins && r.continuesTCP(t, first[l.Transport:l.Header])
	} else {
		joins = joins && big.Uint16(t[6:]) != 0
	}
	if !joins {
		r.closed = true
		return false
	}
	r.count++
	r.Size += payload
	r.closed = payload < r.Segment || r.flags != 0 || l.Protocol == UDP && r.count == maxUDP
	return true
}

// continuesTCP reports whether the TCP header t continues the run. It must equal the
// header of the first packet, except for the sequence number, which continues, the
// checksum, and FIN and PSH, which end the run.
func (r *Run) continuesTCP(t, first []byte) bool {
	const ending = flagFIN | flagPSH
	// Header length, flags and window.
	if (big.Uint32(t[12:])^big.Uint32(first[12:]))&^(ending<<16) != 0 {
		return false
	}
	next := big.Uint32(first[4:]) + uint32(r.count*r.Segment)
	if big.Uint32(t[4:]) != next || big.Uint32(t[8:]) != big.Uint32(first[8:]) {
		return false
	}
	if !bytes.Equal(t[18:], first[18:]) { // urgent pointer, without meaning here, and options
		return false
	}
	r.flags = t[13] & ending
	return true
}

// continuesIP reports whether the IP header of a packet of the same flow continues
// the run: traffic class, flow label, hop limit and the bits beside the fragment
// offset equal those of the first packet. The IPv4 identification counts up, or
// stays the same where it has no meaning.
func (r *Run) continuesIP(packet, first []byte) bool {
	if r.Layout.IPv6 {
		return big.Uint32(packet) == big.Uint32(first) && packet[7] == first[7]
	}
	if packet[1] != first[1] || packet[6] != first[6] || packet[8] != first[8] {
		return false
	}
	step := big.Uint16(packet[4:]) - big.Uint16(first[4:])
	const dontFragment = 0x40
	if r.count == 1 && step == 0 && first[6]&dontFragment != 0 {
		r.fixedID = true
	}
	if r.fixedID {
		return step == 0
	}
	return int(step) == r.count
}

// Seal turns the header of the run's first packet into that of the super-packet. The
// checksum field gets the sum of the pseudo-header only. The receiver of the
// super-packet completes it (in virtio's terms: NEEDS_CSUM). Seal does not change a
// single packet.
func (r *Run) Seal(first []byte) {
	if len(r.Packets) < 2 {
		return
	}
	l := r.Layout
	if l.IPv6 {
		big.PutUint16(first[4:], uint16(r.Size-ipv6Header))
	} else {
		big.PutUint16(first[2:], uint16(r.Size))
		clear(first[10:12])
		big.PutUint16(first[10:], ^Fold(Checksum(first[:ipv4Header], 0)))
	}
	t := first[l.Transport:]
	length := r.Size - l.Transport
	if l.Protocol == TCP {
		t[13] |= r.flags
	} else {
		big.PutUint16(t[4:], uint16(length))
	}
	big.PutUint16(t[l.ChecksumOffset():], Fold(l.pseudo(first)+uint64(length)))
}
