package device

import (
	"net/netip"
	"testing"
)

// datagramFrom returns a UDP datagram as it comes out of the tunnel's interface.
func datagramFrom(from netip.AddrPort, fragment []byte) []byte {
	port := []byte{byte(from.Port() >> 8), byte(from.Port()), 0, 53, 0, 8, 0, 0}
	if from.Addr().Is4() {
		b := make([]byte, 20, 28)
		b[0], b[9] = 0x45, protoUDP
		copy(b[6:8], fragment)
		copy(b[12:], from.Addr().AsSlice())
		return append(b, port...)
	}
	b := make([]byte, 40, 56)
	b[0], b[6] = 0x60, protoUDP
	copy(b[8:], from.Addr().AsSlice())
	if fragment != nil {
		b[6] = protoFragment
		b = append(b, protoUDP, 0, fragment[0], fragment[1], 0, 0, 0, 1)
	}
	return append(b, port...)
}

func TestUDPSource(t *testing.T) {
	for _, text := range []string{"192.0.2.1:51820", "[2001:db8::1]:51820"} {
		from := netip.MustParseAddrPort(text)
		more, rest := []byte{0x20, 0}, []byte{0x01, 0x00}
		if from.Addr().Is6() {
			more, rest = []byte{0, 1}, []byte{0x05, 0xa0}
		}
		for name, packet := range map[string][]byte{"whole": datagramFrom(from, nil), "first fragment": datagramFrom(from, more)} {
			if got, ok := udpSource(packet); !ok || got != from {
				t.Errorf("%s, %s: %v, %t", text, name, got, ok)
			}
			for n := range packet {
				if _, ok := udpSource(packet[:n]); ok && n < len(packet)-6 {
					t.Errorf("%s, %s, %d bytes of it: a source", text, name, n)
				}
			}
		}
		if got, ok := udpSource(datagramFrom(from, rest)); ok {
			t.Errorf("%s, second fragment: %v", text, got)
		}
		tcp := datagramFrom(from, nil)
		tcp[map[bool]int{true: 9, false: 6}[from.Addr().Is4()]] = 6
		if got, ok := udpSource(tcp); ok {
			t.Errorf("%s, TCP: %v", text, got)
		}
	}
}

func FuzzUDPSource(f *testing.F) {
	f.Add(datagramFrom(netip.MustParseAddrPort("192.0.2.1:51820"), nil))
	f.Add(datagramFrom(netip.MustParseAddrPort("[2001:db8::1]:51820"), []byte{0, 1}))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if from, ok := udpSource(packet); ok && !from.Addr().IsValid() {
			t.Errorf("source %v of %x", from, packet)
		}
	})
}

// stack is a host whose addresses are in local, and that sends packets.
type stack struct {
	Interface
	local   map[netip.Addr]bool
	packets [][]byte
	asked   int
}

func (s *stack) Local(addr netip.Addr) bool { s.asked++; return s.local[addr] }

func (s *stack) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for i, p := range s.packets {
		sizes[i] = copy(bufs[i][offset:], p)
	}
	return len(s.packets), nil
}

// Of datagrams from the device's port, only those from an address of the host are its
// own: a tunnel behind the host may use the same port.
func TestRefuserDropsOwnDatagrams(t *testing.T) {
	var s stack
	s.local = map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true, netip.MustParseAddr("2001:db8::1"): true}
	want := map[string]bool{
		"192.0.2.1:51820": true, "[2001:db8::1]:51820": true,
		"192.0.2.2:51820": false, "[2001:db8::2]:51820": false, "192.0.2.1:51821": false, "[2001:db8::1]:53": false,
	}
	var froms []string
	for from := range want {
		froms = append(froms, from)
		s.packets = append(s.packets, datagramFrom(netip.MustParseAddrPort(from), nil))
	}
	r := refuser{hostStack: &s, port: func() uint16 { return 51820 }}
	bufs, sizes := make([][]byte, len(froms)), make([]int, len(froms))
	for i := range bufs {
		bufs[i] = make([]byte, 100)
	}
	if n, err := r.Read(bufs, sizes, 16); n != len(froms) || err != nil {
		t.Fatal(n, err)
	}
	for i, from := range froms {
		if dropped := sizes[i] == 0; dropped != want[from] {
			t.Errorf("%s: dropped: %t", from, dropped)
		}
	}
	if n := r.refused.Load(); n != 2 {
		t.Errorf("%d counted", n)
	}
	s.packets, s.asked = s.packets[:1], 0
	s.packets[0] = datagramFrom(netip.MustParseAddrPort("192.0.2.1:51820"), nil)
	if allocs := testing.AllocsPerRun(100, func() { _, _ = r.Read(bufs, sizes, 16) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if s.asked > 2 {
		t.Errorf("the host was asked %d times about one address", s.asked)
	}
}
