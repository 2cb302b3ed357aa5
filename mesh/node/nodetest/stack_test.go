package nodetest

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

func TestStackAnswersEchoes(t *testing.T) {
	own, other := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	request := func(to netip.Addr) []byte {
		message := icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: 1, Seq: 2, Data: []byte("odd")}}
		data, err := message.Marshal(icmp.IPv6PseudoHeader(other.AsSlice(), to.AsSlice()))
		if err != nil {
			t.Fatal(err)
		}
		packet := make([]byte, ipv6.HeaderLen, ipv6.HeaderLen+len(data))
		packet[0], packet[5], packet[6], packet[7] = 0x60, byte(len(data)), 58, 64
		copy(packet[8:], other.AsSlice())
		copy(packet[24:], to.AsSlice())
		return append(packet, data...)
	}
	s := NewStack(own, 1420)
	send := func(packet []byte) {
		if n, err := s.Write([][]byte{append([]byte{0}, packet...)}, 1); n != 1 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	send(request(other))
	send([]byte{0x60})
	send(nil)
	s.SetIngress(func(from, to netip.Addr, protocol uint8, port uint16) bool {
		return from != other || to != own || protocol != 58 || port != 0
	})
	send(request(own))
	if len(s.outbound) != 0 {
		t.Error("answered what is not for this stack, or may not come in")
	}
	s.SetIngress(nil)
	send(request(own))

	bufs, sizes := [][]byte{make([]byte, 1500)}, make([]int, 1)
	if n, err := s.Read(bufs, sizes, 9); n != 1 || err != nil {
		t.Fatalf("Read = %d, %v", n, err)
	}
	reply := bufs[0][9:][:sizes[0]]
	if netip.AddrFrom16([16]byte(reply[8:])) != own || netip.AddrFrom16([16]byte(reply[24:])) != other {
		t.Errorf("addresses of the reply %x", reply)
	}
	want := icmp.Message{Type: ipv6.ICMPTypeEchoReply, Body: &icmp.Echo{ID: 1, Seq: 2, Data: []byte("odd")}}
	data, err := want.Marshal(icmp.IPv6PseudoHeader(own.AsSlice(), other.AsSlice()))
	if got := string(reply[ipv6.HeaderLen:]); err != nil || got != string(data) {
		t.Errorf("reply %x, want %x, %v", got, data, err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Read(bufs, sizes, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

func TestStackConfigure(t *testing.T) {
	s := NewStack(netip.MustParseAddr("fd00::1"), 1420)
	if err := s.Configure(1280, []netip.Prefix{netip.MustParsePrefix("fd00::3/64")}); err != nil {
		t.Fatal(err)
	}
	if mtu, err := s.MTU(); mtu != 1280 || err != nil {
		t.Errorf("MTU = %d, %v", mtu, err)
	}
	if a, err := s.Source(netip.MustParseAddr("fd00::9")); a != netip.MustParseAddr("fd00::3") || err != nil {
		t.Errorf("Source = %v, %v", a, err)
	}
	if a, err := s.Source(netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Errorf("Source of an IPv4 address = %v", a)
	}
	for range stackBuffer {
		if err := s.Inject([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if s.Inject([]byte{1}) == nil {
		t.Error("Inject did not report that the buffer is full")
	}
}
