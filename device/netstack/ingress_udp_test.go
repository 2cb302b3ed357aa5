package netstack

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
)

// roundTrip sends bytes in both directions.
func roundTrip(t *testing.T, a, b io.ReadWriter) {
	t.Helper()
	buf := make([]byte, 4)
	for range 2 {
		if _, err := a.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, buf); err != nil || string(buf) != "ping" {
			t.Fatalf("%q, %v", buf, err)
		}
		a, b = b, a
	}
}

// TestIngressUDP has a client that was connected before there was a filter, and a
// server that has answered since. Both continue under rules that would refuse either.
// Datagrams come in fragments, too.
func TestIngressUDP(t *testing.T) {
	for _, to := range []netip.Addr{addrB, addrB4} {
		a, b := wire(t)
		server, err := b.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 53))
		if err != nil {
			t.Fatal(err)
		}
		client, err := a.DialUDP(netip.AddrPort{}, netip.AddrPortFrom(to, 53))
		if err != nil {
			t.Fatal(err)
		}
		sent, got := payload(5, 5000), make([]byte, 6000)
		round := func() {
			if _, err := client.Write(sent); err != nil {
				t.Fatal(err)
			}
			n, from, err := server.ReadFrom(got)
			if err != nil || !bytes.Equal(got[:n], sent) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			if _, err := server.WriteTo(sent, from); err != nil {
				t.Fatal(err)
			}
			if n, err := client.Read(got); err != nil || !bytes.Equal(got[:n], sent) {
				t.Fatalf("%d bytes, %v", n, err)
			}
		}
		round()
		a.SetIngress(block)
		b.SetIngress(func(_, _ netip.Addr, protocol uint8, port uint16) bool { return protocol == protocolUDP && port == 53 })
		round()
		b.SetIngress(block)
		round()
		if refused := a.Refused() + b.Refused(); refused > 0 {
			t.Errorf("%d packets of a known flow refused", refused)
		}
		for _, packet := range [][]byte{udpPacket(udpA, udpB, nil), udpPacket(udpA4, udpB4, nil)} {
			if !refuses(t, b, packet) {
				t.Errorf("%x is a new flow", packet)
			}
		}
		_, _ = client.Close(), server.Close()
	}
}

// TestIngressConnectedUDP has UDP sockets that were connected before there was a
// filter.
func TestIngressConnectedUDP(t *testing.T) {
	n := newStack(t, addrA, addrA4)
	for _, remote := range []netip.AddrPort{udpB, udpB4} {
		c, err := n.DialUDP(netip.AddrPort{}, remote)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		n.SetIngress(block)
		local := c.LocalAddr().(*net.UDPAddr).AddrPort()
		other := netip.AddrPortFrom(remote.Addr(), 54)
		for _, p := range []struct {
			packet  []byte
			refused bool
		}{
			{udpPacket(remote, local, nil), false},
			{udpPacket(other, local, nil), true},
			{unreachable(remote.Addr(), local.Addr(), udpPacket(local, other, nil)), true},
			{unreachable(remote.Addr(), local.Addr(), udpPacket(local, remote, nil)), false},
		} {
			if got := refuses(t, n, p.packet); got != p.refused {
				t.Errorf("%x refused: %v", p.packet, got)
			}
		}
	}
}

// TestIngressEcho sends echo requests to a stack before and after the rules refuse
// them.
func TestIngressEcho(t *testing.T) {
	n := newStack(t, addrA, addrA4)
	n.SetIngress(func(_, _ netip.Addr, protocol uint8, _ uint16) bool {
		return protocol == protocolICMP || protocol == protocolICMPv6
	})
	for _, request := range [][]byte{echo(addrB, addrA, false, 1), echo(addrB4, addrA4, false, 1)} {
		if refuses(t, n, request) {
			t.Fatal("refused")
		}
		if reply := readAll(t, n, 1, 2048, 1)[0]; len(reply) != len(request) {
			t.Errorf("reply %x", reply)
		}
	}
	n.SetIngress(block)
	for id, packets := range [][][]byte{
		{echo(addrB, addrA, false, 1), echo(addrB4, addrA4, false, 1)},
		{echo(addrB, addrA, false, 2), echo(addrB4, addrA4, false, 2)},
	} {
		for _, request := range packets {
			if got := refuses(t, n, request); got != (id == 1) {
				t.Errorf("%x refused: %v", request, got)
			}
		}
	}
}

// TestIngressFloodOfOneWay sends to a port that does not answer. That creates no
// flows.
func TestIngressFloodOfOneWay(t *testing.T) {
	n := blocked(t)
	sends(t, n, udpPacket(udpA, udpB, nil))
	n.SetIngress(func(netip.Addr, netip.Addr, uint8, uint16) bool { return true })
	for port := range uint16(60_000) {
		packet := udpPacket(netip.AddrPortFrom(addrB, port+1), udpA, nil)
		_, _ = n.Write([][]byte{packet}, 0)
	}
	known := 0
	for i := range n.flows.groups {
		for _, f := range n.flows.groups[i].flows {
			if f.until > 0 {
				known++
			}
		}
	}
	if known != 1 {
		t.Errorf("%d flows are known, this node made 1", known)
	}
}
