package netstack

import (
	"bytes"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

var (
	udpA  = netip.AddrPortFrom(addrA, 1000)
	udpB  = netip.AddrPortFrom(addrB, 53)
	udpA4 = netip.AddrPortFrom(addrA4, 1000)
	udpB4 = netip.AddrPortFrom(addrB4, 53)
)

func TestParseHeaders(t *testing.T) {
	v6, v4 := udpPacket(udpA, udpB, []byte("hello")), udpPacket(udpA4, udpB4, []byte("hello"))
	options := append([]byte{0x46}, v4[1:20]...)
	options = append(append(options, 1, 1, 1, 0), v4[20:]...)
	header.IPv4(options).SetTotalLength(uint16(len(options)))
	first, second := fragments4(v4, 8)
	var eight [][]byte
	for range maxHeaders {
		eight = append(eight, extension(60))
	}
	eight[len(eight)-1] = extension(17)
	change := func(packet []byte, at int, b byte) []byte {
		out := bytes.Clone(packet)
		out[at] = b
		return out
	}
	for _, c := range []struct {
		name   string
		packet []byte
		want   string // the destination port, "later", or "" if not parsed
	}{
		{"IPv6", v6, "53"},
		{"IPv4", v4, "53"},
		{"IPv4 options", options, "53"},
		{"extensions", extended(v6, 0, extension(43), extension(60), extension(17)), "53"},
		{"fewer than eight extensions", extended(v6, 60, eight[1:]...), "53"},
		{"eight extensions", extended(v6, 60, eight...), ""},
		{"atomic fragment", extended(v6, 44, fragmentHeader(17, 0, false)), "53"},
		{"first fragment", extended(v6, 44, fragmentHeader(17, 0, true)), "53"},
		{"options in the first fragment", extended(v6, 44, fragmentHeader(60, 0, true), extension(17)), "53"},
		{"later fragment", extended(v6, 44, fragmentHeader(17, 2, true)), "later"},
		{"fragment of a fragment", extended(v6, 44, fragmentHeader(44, 0, true), fragmentHeader(17, 1, true)), ""},
		{"first IPv4 fragment", first, "53"},
		{"later IPv4 fragment", second, "later"},
		{"experimental header", extended(v6, 253, extension(17)), ""},
		{"extension without end", change(extended(v6, 60, extension(17)), 41, 200), ""},
		{"extension cut off", extended(v6, 60, extension(17))[:41], ""},
		{"long IPv4 header", change(v4, 0, 0x4f), ""},
		{"short IPv4 header", change(v4, 0, 0x44), ""},
		{"IPv4 length", change(change(v4, 3, 19), 2, 0), ""},
		{"cut IPv4", v4[:19], ""},
		{"cut IPv6", v6[:39], ""},
		{"other version", change(v6, 0, 0x50), ""},
		{"empty", nil, ""},
		{"bytes after the end", append(bytes.Clone(v4), 1, 2, 3), "53"},
	} {
		h, ok := parseHeaders(c.packet)
		got := ""
		switch {
		case ok && h.later:
			got = "later"
		case ok && h.complete():
			_, port := h.ports()
			got = netip.AddrPortFrom(addrA4, port).String()[len("10.0.0.1:"):]
			source, destination := h.addresses()
			if source != addrA && source != addrA4 || destination != addrB && destination != addrB4 || !bytes.HasSuffix(h.transport, []byte("hello")) && !bytes.Equal(c.packet, first) {
				t.Errorf("%s: %v to %v, %x", c.name, source, destination, h.transport)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestHeadersIncomplete(t *testing.T) {
	for _, packet := range [][]byte{
		udpPacket(udpA, udpB, nil), udpPacket(udpA4, udpB4, nil),
		tcpSegment(udpA, udpB, 0), tcpSegment(udpA4, udpB4, 0),
		echo(addrA, addrB, false, 1)[:48], echo(addrA4, addrB4, false, 1)[:28],
	} {
		h, ok := parseHeaders(packet)
		if !ok || !h.complete() {
			t.Errorf("%x is not complete", packet)
		}
		h, ok = parseHeaders(packet[:len(packet)-1])
		if !ok || h.complete() {
			t.Errorf("%x is complete", packet[:len(packet)-1])
		}
	}
}

// TestKeys compares the keys of a flow's packets in both directions, and of different
// flows.
func TestKeys(t *testing.T) {
	back := func(p netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(p.Addr(), p.Port()+1) }
	keys := make(map[key]string)
	for _, c := range []struct {
		name    string
		out, in []byte
	}{
		{"UDP", udpPacket(udpA, udpB, nil), udpPacket(udpB, udpA, nil)},
		{"IPv4 UDP", udpPacket(udpA4, udpB4, nil), udpPacket(udpB4, udpA4, nil)},
		{"another port", udpPacket(udpA, back(udpB), nil), udpPacket(back(udpB), udpA, nil)},
		{"another own port", udpPacket(back(udpA), udpB, nil), udpPacket(udpB, back(udpA), nil)},
		{"other direction", udpPacket(udpB, udpA, nil), udpPacket(udpA, udpB, nil)},
		{"TCP", tcpSegment(udpA, udpB, header.TCPFlagSyn), tcpSegment(udpB, udpA, header.TCPFlagAck)},
		{"asks", echo(addrA, addrB, false, 1), echo(addrB, addrA, true, 1)},
		{"is asked", echo(addrA, addrB, true, 1), echo(addrB, addrA, false, 1)},
		{"another echo", echo(addrA, addrB, false, 2), echo(addrB, addrA, true, 2)},
		{"IPv4 asks", echo(addrA4, addrB4, false, 1), echo(addrB4, addrA4, true, 1)},
		{"IPv4 is asked", echo(addrA4, addrB4, true, 1), echo(addrB4, addrA4, false, 1)},
		{"IPv4 mapped", udpPacket(mapped(udpA4), mapped(udpB4), nil), udpPacket(mapped(udpB4), mapped(udpA4), nil)},
		{"IPv4 and zeros", udpPacket(padded(udpA4), padded(udpB4), nil), udpPacket(padded(udpB4), padded(udpA4), nil)},
	} {
		out, _ := parseHeaders(c.out)
		in, _ := parseHeaders(c.in)
		sent, ok := out.key(true)
		received, _ := in.key(false)
		if !ok || sent != received {
			t.Errorf("%s: keys %x and %x", c.name, sent, received)
		}
		if other, taken := keys[sent]; taken {
			t.Errorf("%s has the key of %s", c.name, other)
		}
		keys[sent] = c.name
	}
	for _, packet := range [][]byte{
		unreachable(addrA, addrB, udpPacket(udpB, udpA, nil)),
		ipPacket(132, addrA, addrB, make([]byte, 20)),
		ipPacket(protocolICMP, addrA, addrB, append([]byte{8}, make([]byte, 20)...)),
	} {
		h, _ := parseHeaders(packet)
		if k, ok := h.key(true); ok {
			t.Errorf("%x makes a flow: %x", packet, k)
		}
	}
}

// padded returns an IPv6 address that begins with the bytes of an IPv4 address.
func padded(a netip.AddrPort) netip.AddrPort {
	var b [16]byte
	copy(b[:], a.Addr().AsSlice())
	return netip.AddrPortFrom(netip.AddrFrom16(b), a.Port())
}

// mapped returns the IPv4-mapped IPv6 address.
func mapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}
