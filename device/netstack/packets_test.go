package netstack

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// ipPacket returns an IP packet with a transport header and payload, whose checksum it
// sets.
func ipPacket(protocol uint8, from, to netip.Addr, transport []byte) []byte {
	sum := header.PseudoHeaderChecksum(tcpip.TransportProtocolNumber(protocol), tcpipAddress(from), tcpipAddress(to), uint16(len(transport)))
	at := map[uint8]int{protocolTCP: 16, protocolUDP: 6, protocolICMP: 2, protocolICMPv6: 2}[protocol]
	if protocol == protocolICMP {
		sum = 0 // without a pseudo-header
	}
	if at > 0 {
		binary.BigEndian.PutUint16(transport[at:], ^checksum.Checksum(transport, sum))
	}
	if from.Is6() {
		packet := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(transport))
		header.IPv6(packet).Encode(&header.IPv6Fields{
			PayloadLength: uint16(len(transport)), TransportProtocol: tcpip.TransportProtocolNumber(protocol), HopLimit: 64,
			SrcAddr: tcpipAddress(from), DstAddr: tcpipAddress(to),
		})
		return append(packet, transport...)
	}
	packet := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(transport))
	h := header.IPv4(packet)
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(cap(packet)), Protocol: protocol, TTL: 64,
		SrcAddr: tcpipAddress(from), DstAddr: tcpipAddress(to),
	})
	h.SetChecksum(^h.CalculateChecksum())
	return append(packet, transport...)
}

// extended returns packet with a chain of IPv6 extension headers inserted. Each names
// its successor, and the last the transport protocol of packet.
func extended(packet []byte, first uint8, chain ...[]byte) []byte {
	var all []byte
	for _, extension := range chain {
		all = append(all, extension...)
	}
	out := append(append(append([]byte(nil), packet[:40]...), all...), packet[40:]...)
	h := header.IPv6(out)
	h.SetNextHeader(first)
	h.SetPayloadLength(uint16(len(out) - 40))
	return out
}

// extension returns an options header of 8 bytes, filled with padding.
func extension(next uint8) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }

// fragmentHeader returns an IPv6 fragment header. The offset is in units of 8 bytes.
func fragmentHeader(next uint8, offset uint16, more bool) []byte {
	h := []byte{next, 0, 0, 0, 0, 0, 0, 7}
	binary.BigEndian.PutUint16(h[2:], offset<<3)
	if more {
		h[3] |= 1
	}
	return h
}

// fragments4 cuts an IPv4 packet after size bytes of its payload.
func fragments4(packet []byte, size int) (first, second []byte) {
	cut := func(payload []byte, offset int, flags uint8) []byte {
		out := append(append([]byte(nil), packet[:20]...), payload...)
		h := header.IPv4(out)
		h.SetTotalLength(uint16(len(out)))
		h.SetID(7)
		h.SetFlagsFragmentOffset(flags, uint16(offset))
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
		return out
	}
	return cut(packet[20:][:size], 0, header.IPv4FlagMoreFragments), cut(packet[20+size:], size, 0)
}

func udpPacket(from, to netip.AddrPort, payload []byte) []byte {
	t := make([]byte, header.UDPMinimumSize, header.UDPMinimumSize+len(payload))
	header.UDP(t).Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: uint16(cap(t))})
	return ipPacket(protocolUDP, from.Addr(), to.Addr(), append(t, payload...))
}

func tcpSegment(from, to netip.AddrPort, flags header.TCPFlags) []byte {
	t := make([]byte, header.TCPMinimumSize)
	header.TCP(t).Encode(&header.TCPFields{
		SrcPort: from.Port(), DstPort: to.Port(), SeqNum: 1, AckNum: 1, DataOffset: header.TCPMinimumSize, Flags: flags, WindowSize: 1000,
	})
	return ipPacket(protocolTCP, from.Addr(), to.Addr(), t)
}

func icmpPacket(from, to netip.Addr, kind uint8, rest []byte) []byte {
	protocol := protocolICMPv6
	if from.Is4() {
		protocol = protocolICMP
	}
	return ipPacket(protocol, from, to, append([]byte{kind, 0, 0, 0}, rest...))
}

// echo returns an echo request or an echo reply.
func echo(from, to netip.Addr, reply bool, id uint16) []byte {
	kind := uint8(header.ICMPv6EchoRequest)
	if from.Is4() {
		kind = uint8(header.ICMPv4Echo)
	}
	switch {
	case reply && from.Is4():
		kind = uint8(header.ICMPv4EchoReply)
	case reply:
		kind = uint8(header.ICMPv6EchoReply)
	}
	return icmpPacket(from, to, kind, []byte{byte(id >> 8), byte(id), 0, 1, 'e', 'c', 'h', 'o'})
}

// unreachable returns an ICMP error about a packet. Like some routers, it quotes only
// the first bytes.
func unreachable(from, to netip.Addr, about []byte) []byte {
	kind, size := uint8(header.ICMPv6DstUnreachable), 48
	if from.Is4() {
		kind, size = uint8(header.ICMPv4DstUnreachable), 28
	}
	return icmpPacket(from, to, kind, append(make([]byte, 4), about[:min(size, len(about))]...))
}

// refuses writes a packet and reports whether the filter refused it.
func refuses(t testing.TB, n *Netstack, packet []byte) bool {
	t.Helper()
	before := n.Refused()
	if _, err := n.Write([][]byte{append([]byte(nil), packet...)}, 0); err != nil {
		t.Error(err)
	}
	return n.Refused() != before
}

// block refuses all new flows.
func block(netip.Addr, netip.Addr, uint8, uint16) bool { return false }

// sends sends a packet from the stack into the tunnel.
func sends(t testing.TB, n *Netstack, packet []byte) {
	t.Helper()
	if err := n.Inject(packet); err != nil {
		t.Fatal(err)
	}
	readAll(t, n, 1, 2048, 1)
}
