package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// blocked returns a stack that refuses all new flows.
func blocked(t testing.TB) *Netstack {
	n := newStack(t, addrA, addrA4)
	n.SetIngress(block)
	return n
}

func TestIngressAsks(t *testing.T) {
	n := newStack(t, addrA, addrA4)
	var asked []string
	n.SetIngress(func(source, destination netip.Addr, protocol uint8, port uint16) bool {
		asked = append(asked, fmt.Sprint(source, destination, protocol, port))
		return true
	})
	later := extended(udpPacket(udpB, udpA, nil), 44, fragmentHeader(17, 1, false))
	batch := [][]byte{
		udpPacket(udpB, udpA, nil), udpPacket(udpB4, udpA4, nil), tcpSegment(udpB, udpA, header.TCPFlagAck), later,
		echo(addrB, addrA, false, 1), echo(addrB4, addrA4, false, 1), ipPacket(132, addrB, addrA, make([]byte, 12)),
		tcpSegment(udpB4, udpA4, header.TCPFlagSyn|header.TCPFlagEce), icmpPacket(addrB, addrA, 135, make([]byte, 20)),
		{0x45},
		{0x60},
		{},
	}
	const malformed = 3
	if _, err := n.Write(batch, 0); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"fd00::b fd00::a 17 1000", "10.0.0.2 10.0.0.1 17 1000", "fd00::b fd00::a 6 1000",
		"fd00::b fd00::a 58 0", "10.0.0.2 10.0.0.1 1 0", "fd00::b fd00::a 132 0",
		"10.0.0.2 10.0.0.1 6 1000", "fd00::b fd00::a 58 0",
	}
	if fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked\n%q, want\n%q", asked, want)
	}
	if got := n.Refused(); got != malformed {
		t.Errorf("%d packets refused, want %d", got, malformed)
	}
	n.SetIngress(nil)
	asked = nil
	if refuses(t, n, udpPacket(udpB, udpA, nil)) || asked != nil {
		t.Error("without rules, something is asked")
	}
}

// TestIngressInvalid writes packets that are only valid within a flow, to a stack whose
// rules admit everything.
func TestIngressInvalid(t *testing.T) {
	n := newStack(t, addrA, addrA4)
	n.SetIngress(func(netip.Addr, netip.Addr, uint8, uint16) bool { return true })
	const syn, ack, fin, rst = header.TCPFlagSyn, header.TCPFlagAck, header.TCPFlagFin, header.TCPFlagRst
	for _, flags := range []header.TCPFlags{0, header.TCPFlagPsh, syn | ack, syn | fin, syn | rst, fin, fin | ack, rst, rst | ack, syn | ack | fin | rst} {
		if !refuses(t, n, tcpSegment(udpB, udpA, flags)) || !refuses(t, n, tcpSegment(udpB4, udpA4, flags)) {
			t.Errorf("TCP flags %v came in", flags)
		}
	}
	for _, packet := range [][]byte{
		echo(addrB, addrA, true, 1), echo(addrB4, addrA4, true, 1),
		unreachable(addrB, addrA, udpPacket(udpA, udpB, nil)), unreachable(addrB4, addrA4, tcpSegment(udpA4, udpB4, ack)),
		icmpPacket(addrB4, addrA4, 5, make([]byte, 32)), icmpPacket(addrB, addrA, 137, make([]byte, 36)),
		extended(echo(addrB, addrA, false, 1), 253, extension(58)),
	} {
		if !refuses(t, n, packet) {
			t.Errorf("%x came in", packet)
		}
	}
}

// TestIngressLearns sends a packet, and checks which packets may come in then.
func TestIngressLearns(t *testing.T) {
	port := func(p netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(p.Addr(), port) }
	large := func(from, to netip.AddrPort) []byte { return udpPacket(from, to, make([]byte, 16)) }
	first4, second4 := fragments4(large(udpA4, udpB4), 16)
	for _, c := range []struct {
		name    string
		leaves  []byte
		enters  []byte
		refused bool
	}{
		{"UDP", udpPacket(udpA, udpB, nil), udpPacket(udpB, udpA, nil), false},
		{"IPv4 UDP", udpPacket(udpA4, udpB4, nil), udpPacket(udpB4, udpA4, nil), false},
		{"UDP in a fragment", udpPacket(udpA, udpB, nil), extended(large(udpB, udpA), 44, fragmentHeader(17, 0, true)), false},
		{"fragmented IPv4 UDP", first4, udpPacket(udpB4, udpA4, nil), false},
		{"later IPv4 fragment", second4, udpPacket(udpB4, udpA4, nil), true},
		{"fragmented UDP", extended(large(udpA, udpB), 44, fragmentHeader(17, 0, true)), udpPacket(udpB, udpA, nil), false},
		{"behind options", udpPacket(udpA, udpB, nil), extended(udpPacket(udpB, udpA, nil), 60, extension(17)), false},
		{"from another port", udpPacket(udpA, udpB, nil), udpPacket(port(udpB, 54), udpA, nil), true},
		{"to another port", udpPacket(udpA, udpB, nil), udpPacket(udpB, port(udpA, 1), nil), true},
		{"from another address", udpPacket(udpA, udpB, nil), udpPacket(netip.MustParseAddrPort("[fd00::c]:53"), udpA, nil), true},
		{"of another family", udpPacket(udpA4, udpB4, nil), udpPacket(mapped(udpB4), mapped(udpA4), nil), true},
		{"another protocol", udpPacket(udpA, udpB, nil), tcpSegment(udpB, udpA, header.TCPFlagAck), true},
		{"ping", echo(addrA, addrB, false, 1), echo(addrB, addrA, true, 1), false},
		{"IPv4 ping", echo(addrA4, addrB4, false, 1), echo(addrB4, addrA4, true, 1), false},
		{"another ping", echo(addrA, addrB, false, 1), echo(addrB, addrA, true, 2), true},
		{"ping back", echo(addrA, addrB, false, 1), echo(addrB, addrA, false, 1), true},
		{"ping after an answer", echo(addrA4, addrB4, true, 1), echo(addrB4, addrA4, false, 1), false},
		{"answer after an answer", echo(addrA4, addrB4, true, 1), echo(addrB4, addrA4, true, 1), true},
		{"about UDP", udpPacket(udpA, udpB, nil), unreachable(addrB, addrA, udpPacket(udpA, udpB, nil)), false},
		{"about IPv4 UDP", udpPacket(udpA4, udpB4, nil), unreachable(addrB4, addrA4, udpPacket(udpA4, udpB4, nil)), false},
		{"from a router", udpPacket(udpA, udpB, nil), unreachable(netip.MustParseAddr("fd00::c"), addrA, udpPacket(udpA, udpB, nil)), false},
		{"about a ping", echo(addrA, addrB, false, 1), unreachable(addrB, addrA, echo(addrA, addrB, false, 1)), false},
		{"about another ping", echo(addrA, addrB, false, 1), unreachable(addrB, addrA, echo(addrA, addrB, false, 2)), true},
		{"about what was not sent", udpPacket(udpA, udpB, nil), unreachable(addrB, addrA, udpPacket(udpA, port(udpB, 54), nil)), true},
		{"about what came", udpPacket(udpA, udpB, nil), unreachable(addrB, addrA, udpPacket(udpB, udpA, nil)), true},
		{"about an error", unreachable(addrA, addrB, udpPacket(udpB, udpA, nil)), unreachable(addrB, addrA, unreachable(addrA, addrB, udpPacket(udpB, udpA, nil))), true},
		{"about a fragment", second4, unreachable(addrB4, addrA4, second4), true},
		{"about a fragment that looks like UDP", udpPacket(udpA, udpB, nil), icmpPacket(addrB, addrA, 1, append(make([]byte, 4), extended(udpPacket(udpA, udpB, nil), 44, fragmentHeader(17, 1, true))...)), true},
		{"about little", udpPacket(udpA4, udpB4, nil), unreachable(addrB4, addrA4, udpPacket(udpA4, udpB4, nil)[:27]), true},
		{"about nothing", udpPacket(udpA4, udpB4, nil), unreachable(addrB4, addrA4, nil), true},
		{"of another family", udpPacket(udpA4, udpB4, nil), unreachable(addrB, addrA, udpPacket(udpA4, udpB4, nil)), true},
		{"redirect", udpPacket(udpA4, udpB4, nil), icmpPacket(addrB4, addrA4, 5, append(make([]byte, 4), udpPacket(udpA4, udpB4, nil)...)), true},
		{"after a reset", tcpSegment(udpA, udpB, header.TCPFlagRst), tcpSegment(udpB, udpA, header.TCPFlagAck), false},
		{"opens after a reset", tcpSegment(udpA, udpB, header.TCPFlagRst), tcpSegment(udpB, udpA, header.TCPFlagSyn), true},
		{"unknown TCP", tcpSegment(udpA, udpB, header.TCPFlagAck), tcpSegment(udpB, udpA, header.TCPFlagAck), true},
	} {
		n := blocked(t)
		if !refuses(t, n, c.enters) {
			t.Errorf("%s: came in first", c.name)
		}
		sends(t, n, c.leaves)
		if got := refuses(t, n, c.enters); got != c.refused {
			t.Errorf("%s: refused %v, want %v", c.name, got, c.refused)
		}
	}
}

// TestIngressConnections checks packets in each state of a TCP connection that was made
// before there was a filter.
func TestIngressConnections(t *testing.T) {
	for _, remote := range []netip.AddrPort{netip.AddrPortFrom(addrA, 999), netip.AddrPortFrom(addrA4, 999)} {
		a, b := wire(t)
		l, err := b.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), 80))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		to := netip.AddrPortFrom(addrB, 80)
		if remote.Addr().Is4() {
			to = netip.AddrPortFrom(addrB4, 80)
		}
		c, err := a.DialTCPAddrPort(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		from := c.LocalAddr().(*net.TCPAddr).AddrPort()
		a.SetIngress(block)
		b.SetIngress(block)
		roundTrip(t, c, server)
		for _, p := range []struct {
			packet  []byte
			refused bool
		}{
			{tcpSegment(from, to, header.TCPFlagSyn), true},
			{tcpSegment(from, to, header.TCPFlagSyn|header.TCPFlagFin), true},
			{tcpSegment(netip.AddrPortFrom(from.Addr(), from.Port()^1), to, header.TCPFlagAck), true},
			{unreachable(from.Addr(), to.Addr(), tcpSegment(to, from, header.TCPFlagAck)), false},
			{unreachable(from.Addr(), to.Addr(), tcpSegment(to, netip.AddrPortFrom(from.Addr(), 5), header.TCPFlagAck)), true},
			{tcpSegment(from, to, header.TCPFlagAck), false},
		} {
			if got := refuses(t, b, p.packet); got != p.refused {
				t.Errorf("%x refused: %v", p.packet, got)
			}
		}
		roundTrip(t, c, server)
		// The side that closes first keeps the connection, in TIME-WAIT.
		_ = server.Close()
		_, _ = c.Read(make([]byte, 1))
		_ = c.Close()
		for b.connectionState(from, to) != tcp.StateTimeWait {
			runtime.Gosched() // the stack changes the state a moment later
		}
		if !refuses(t, b, tcpSegment(from, to, header.TCPFlagSyn)) {
			t.Error("a closed connection was opened again")
		}
		if refuses(t, b, tcpSegment(from, to, header.TCPFlagAck|header.TCPFlagFin)) {
			t.Error("the end of a connection was refused")
		}
	}
}

// connectionState returns the state of a connection from another node.
func (n *Netstack) connectionState(from, to netip.AddrPort) tcp.EndpointState {
	h, _ := parseHeaders(tcpSegment(from, to, 0))
	return n.ingress.Load().connectionState(&h, false)
}

// TestIngressSimultaneousOpen answers a SYN with a SYN.
func TestIngressSimultaneousOpen(t *testing.T) {
	n := blocked(t)
	ctx, cancel := context.WithCancel(t.Context())
	dialed := make(chan struct{})
	go func() {
		_, _ = n.DialTCPAddrPort(ctx, udpB)
		close(dialed)
	}()
	packet := readAll(t, n, 1, 2048, 1)[0]
	own := netip.AddrPortFrom(addrA, header.TCP(header.IPv6(packet).Payload()).SourcePort())
	if refuses(t, n, tcpSegment(udpB, own, header.TCPFlagSyn)) {
		t.Error("refused")
	}
	cancel()
	<-dialed
}

// TestIngressCountsPackets refuses packets that the stack would get as one.
func TestIngressCountsPackets(t *testing.T) {
	n := blocked(t)
	batch := segments(t, newStack(t, addrB), 60_000, 1360, 16)
	if _, err := n.Write(batch, 16); err != nil || n.Refused() != uint64(len(batch)) {
		t.Errorf("%d of %d packets refused, %v", n.Refused(), len(batch), err)
	}
}

// TestIngressOutboundTCP connects to another node from one that refuses all new flows.
func TestIngressOutboundTCP(t *testing.T) {
	for _, to := range []netip.Addr{addrB, addrB4} {
		a, b := wire(t)
		a.SetIngress(block)
		exchange(t, a, b, netip.AddrPortFrom(to, 80), 200_000)
		if refused := a.Refused(); refused > 0 {
			t.Errorf("%d packets of own connections refused", refused)
		}
	}
}

// TestIngressChanges changes the rules during a transfer, which is not affected.
func TestIngressChanges(t *testing.T) {
	a, b := newStack(t, addrA), newStack(t, addrB)
	rules := []Ingress{nil, block, func(netip.Addr, netip.Addr, uint8, uint16) bool { return true }}
	count := 0
	change := func(batch [][]byte) [][]byte {
		if count++; count > 10 { // the connection is established
			a.SetIngress(rules[count%len(rules)])
			b.SetIngress(rules[count%len(rules)])
		}
		return batch
	}
	join(t, a, b, change, unchanged)
	exchange(t, a, b, netip.AddrPortFrom(addrB, 80), 4<<20)
}
