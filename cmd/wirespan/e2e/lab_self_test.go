package e2e

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// packetOf returns an IP packet. Its checksums are not valid; the detector ignores them.
func packetOf(from, to string, protocol byte, payload []byte) []byte {
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	header := make([]byte, 20, 40+len(payload))
	if src.Is4() {
		header[0], header[9] = 0x45, protocol
		copy(header[12:], src.AsSlice())
		copy(header[16:], dst.AsSlice())
	} else {
		header = header[:40]
		header[0], header[6] = 0x60, protocol
		copy(header[8:], src.AsSlice())
		copy(header[24:], dst.AsSlice())
	}
	return append(header, payload...)
}

// datagramOf returns a UDP header followed by the message.
func datagramOf(from, to uint16, message ...byte) []byte {
	b := make([]byte, 8, 8+len(message))
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	return append(b, message...)
}

// icmpError returns an ICMP error that quotes a packet.
func icmpError(typ byte, quoted []byte) []byte {
	return append([]byte{typ, 3, 0, 0, 0, 0, 0, 0}, quoted...)
}

// TestLeakDetector checks which packets count as leaks, without a network.
func TestLeakDetector(t *testing.T) {
	const icmp, icmpv6, udp = unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6, unix.IPPROTO_UDP
	const a, b, a6, b6, other = "10.90.0.1", "10.90.0.2", "fd90::1", "fd90::2", "10.90.0.4"
	data := []byte{4, 0, 0, 0, 1, 2, 3, 4}
	encrypted := datagramOf(wirePort, wirePort, data...)
	toB, toB6 := packetOf(a, b, udp, encrypted), packetOf(a6, b6, udp, encrypted)
	marked := append(datagramOf(wirePort, wirePort, data...), leakMarker...)
	for name, test := range map[string]struct {
		packet []byte
		leak   bool
	}{
		"encrypted":                   {toB, false},
		"encrypted, IPv6":             {toB6, false},
		"to discovery":                {packetOf(a, other, udp, datagramOf(1, 3000, data...)), false},
		"another port":                {packetOf(a, b, udp, datagramOf(wirePort, 53, data...)), true},
		"not of WireGuard's form":     {packetOf(a, b, udp, datagramOf(wirePort, wirePort, 9, 9, 9, 9)), true},
		"a ping":                      {packetOf(a, b, icmp, icmpError(8, nil)), true},
		"the marker":                  {packetOf(a, b, udp, marked), true},
		"to a network of the mesh":    {packetOf(a, "10.61.1.2", udp, encrypted), true},
		"from a network of the mesh":  {packetOf("10.61.1.2", other, udp, encrypted), true},
		"unreadable":                  {[]byte{0x45, 0}, true},
		"error about encrypted":       {packetOf(b, a, icmp, icmpError(3, toB)), false},
		"error about encrypted, IPv6": {packetOf(b6, a6, icmpv6, icmpError(1, toB6)), false},
		"quoted only in part":         {packetOf(b, a, icmp, icmpError(3, toB[:36])), false},
		"cut in the quoted UDP":       {packetOf(b, a, icmp, icmpError(3, toB[:24])), true},
		"quotes the marker":           {packetOf(b, a, icmp, icmpError(3, packetOf(a, b, udp, marked))), true},
		"quotes another port":         {packetOf(b, a, icmp, icmpError(3, packetOf(a, b, udp, datagramOf(9000, wirePort, data...)))), true},
		"quotes another protocol":     {packetOf(b, a, icmp, icmpError(3, packetOf(a, b, unix.IPPROTO_TCP, encrypted))), true},
		"quotes another form":         {packetOf(b, a, icmp, icmpError(3, packetOf(a, b, udp, datagramOf(wirePort, wirePort, 9, 9, 9, 9)))), true},
		"quotes an inner address":     {packetOf(b, a, icmp, icmpError(3, packetOf(a, "10.61.2.2", udp, encrypted))), true},
		"quotes another sender":       {packetOf(b, a, icmp, icmpError(3, packetOf("10.90.0.3", b, udp, encrypted))), true},
		"quotes the wrong direction":  {packetOf(b, a, icmp, icmpError(3, packetOf(b, a, udp, encrypted))), true},
		"no error":                    {packetOf(b, a, icmp, icmpError(8, toB)), true},
		"no error, IPv6":              {packetOf(b6, a6, icmpv6, icmpError(128, toB6)), true},
		"error to a mesh network":     {packetOf(b, "10.61.1.2", icmp, icmpError(3, packetOf("10.61.1.2", b, udp, encrypted))), true},
	} {
		d := &leakDetector{leaks: map[leak]int{}, networks: []netip.Prefix{netip.MustParsePrefix("10.61.0.0/16")}}
		for _, node := range []string{a, b, a6, b6} {
			d.nodes = append(d.nodes, netip.MustParseAddr(node))
		}
		ethertype := uint16(unix.ETH_P_IP)
		if test.packet[0]>>4 == 6 {
			ethertype = unix.ETH_P_IPV6
		}
		d.read("a", ethertype, test.packet)
		if got := total(d.leaks) > 0; got != test.leak {
			t.Errorf("%s: counts as a leak: %t, want %t (%s)", name, got, test.leak, listLeaks(d.leaks))
		}
	}
}
