package netstack

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// transported returns how many packets the stack's transport protocols and ICMP got.
func transported(n *Netstack) uint64 {
	s := n.stack.Stats()
	v4, v6 := s.ICMP.V4.PacketsReceived, s.ICMP.V6.PacketsReceived
	return s.UDP.PacketsReceived.Value() + s.UDP.UnknownPortErrors.Value() + s.UDP.MalformedPacketsReceived.Value() +
		s.TCP.ValidSegmentsReceived.Value() + s.TCP.InvalidSegmentsReceived.Value() +
		v4.EchoRequest.Value() + v4.EchoReply.Value() + v4.DstUnreachable.Value() + v4.Invalid.Value() +
		v6.EchoRequest.Value() + v6.EchoReply.Value() + v6.DstUnreachable.Value() + v6.PacketTooBig.Value() + v6.Invalid.Value()
}

// FuzzIngress writes three packets, which may be fragments of one, to a filter that
// knows no flow and refuses all protocols that the stack has. None of these may reach
// the stack, whatever the headers are. Other protocols are admitted, as by rules that
// name only some.
func FuzzIngress(f *testing.F) {
	v6, v4 := udpPacket(udpB, udpA, make([]byte, 8)), udpPacket(udpB4, udpA4, make([]byte, 8))
	first, second := fragments4(v4, 8)
	for _, packets := range [][3][]byte{
		{v6, v4, echo(addrB, addrA, false, 1)},
		{first, second, nil},
		{second, first, tcpSegment(udpB4, udpA4, header.TCPFlagSyn)},
		{extended(v6[:48], 44, fragmentHeader(17, 0, true)), extended(append(v6[:40:40], v6[48:]...), 44, fragmentHeader(17, 1, false)), nil},
		{extended(v6[:40], 44, fragmentHeader(60, 0, true), extension(17)), extended(v6, 44, fragmentHeader(60, 1, false)), nil},
		{extended(v6, 44, fragmentHeader(44, 0, true), fragmentHeader(17, 1, true)), extended(v6, 253, extension(17)), extended(v6, 60, extension(17))},
		{unreachable(addrB, addrA, v6), echo(addrB4, addrA4, true, 1), ipPacket(132, addrB, addrA, make([]byte, 12))},
	} {
		f.Add(packets[0], packets[1], packets[2])
	}
	n := newStack(f, addrA, addrA4)
	for _, port := range []uint16{udpA.Port(), 0x1020} {
		c, err := n.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), port))
		if err != nil {
			f.Fatal(err)
		}
		defer c.Close()
	}
	n.SetIngress(func(_, _ netip.Addr, protocol uint8, _ uint16) bool {
		return !slices.Contains([]uint8{protocolTCP, protocolUDP, protocolICMP, protocolICMPv6}, protocol)
	})
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		before := transported(n)
		for _, packet := range [][]byte{a, b, c} {
			_, _ = n.Write([][]byte{slices.Clone(packet)}, 0)
		}
		if after := transported(n); after != before {
			t.Fatalf("%d of %x, %x, %x got to the stack", after-before, a, b, c)
		}
	})
}

// FuzzIngressLearn sends an arbitrary packet and receives another one. The second is
// admitted only if it belongs to the flow of the first.
func FuzzIngressLearn(f *testing.F) {
	f.Add(udpPacket(udpA, udpB, nil), udpPacket(udpB, udpA, nil))
	f.Add(echo(addrA, addrB, false, 1), unreachable(addrB, addrA, echo(addrA, addrB, false, 1)))
	f.Add(tcpSegment(udpA, udpB, header.TCPFlagRst), tcpSegment(udpB, udpA, header.TCPFlagAck))
	n := blocked(f)
	f.Fuzz(func(t *testing.T, out, in []byte) {
		filter := &ingress{allows: block, flows: newFlows(), stack: n.stack}
		filter.learn([][]byte{out}, []int{len(out)}, 0)
		if !filter.admits(in, time.Second) {
			return
		}
		received, _ := parseHeaders(in)
		sent, _ := parseHeaders(out)
		if received.later {
			return
		}
		var q headers
		if received.icmp() {
			q, _ = received.quoted()
		}
		switch {
		case string(q.source) == string(sent.source) && string(q.destination) == string(sent.destination) && q.protocol == sent.protocol:
		case string(received.source) == string(sent.destination) && string(received.destination) == string(sent.source) && received.protocol == sent.protocol:
		default:
			t.Fatalf("after %x, %x came in", out, in)
		}
	})
}
