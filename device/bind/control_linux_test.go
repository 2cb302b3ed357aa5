package bind

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestControlRoundTrip(t *testing.T) {
	for _, tc := range []struct {
		src     string
		ifindex uint32
	}{{"192.0.2.1", 7}, {"2001:db8::1", 1 << 20}, {"0.0.0.0", 0}} {
		src := netip.MustParseAddr(tc.src)
		b := make([]byte, controlSize)
		n := putSource(b, src, tc.ifindex)
		data, space := putControl(b[n:], unix.SOL_UDP, unix.UDP_GRO, 4)
		copy(data, []byte{0x34, 0x34, 0, 0}) // 0x3434 on either end; the rest is zero
		if bigEndian() {
			copy(data, []byte{0, 0, 0x34, 0x34})
		}
		c := parseControl(b[:n+space])
		got := netip.AddrFrom16(c.src)
		if src.Is4() {
			got = netip.AddrFrom4([4]byte(c.src[:4]))
		}
		if got != src || c.ifindex != tc.ifindex || c.segment != 0x3434 {
			t.Errorf("%s: %s by %d, segments of %d", tc.src, got, c.ifindex, c.segment)
		}
	}
}

func bigEndian() bool {
	b := make([]byte, controlSize)
	putControl(b, 0, 1, 0)
	return b[unix.SizeofCmsghdr-4] == 0
}

// The system's own parser reads the control messages of a send.
func TestPutSegment(t *testing.T) {
	b := make([]byte, controlSize)
	n := putSource(b, netip.MustParseAddr("2001:db8::1"), 9)
	n += putSegment(b[n:], 1452)
	if n > controlSize {
		t.Fatalf("control messages take %d bytes", n)
	}
	messages, err := unix.ParseSocketControlMessage(b[:n])
	if err != nil || len(messages) != 2 {
		t.Fatalf("%d control messages: %v", len(messages), err)
	}
	segment := messages[1]
	if segment.Header.Level != unix.SOL_UDP || segment.Header.Type != unix.UDP_SEGMENT {
		t.Errorf("header %+v", segment.Header)
	}
	if !bytes.Equal(segment.Data, []byte{0xac, 0x05}) && !bytes.Equal(segment.Data, []byte{0x05, 0xac}) {
		t.Errorf("data %x", segment.Data)
	}
}

func FuzzParseControl(f *testing.F) {
	b := make([]byte, controlSize)
	n := putSource(b, netip.MustParseAddr("2001:db8::1"), 9)
	f.Add(b[:n])
	f.Add(b[:n-1])
	n += putSegment(b[n:], 1)
	f.Add(b[:n])
	f.Add(bytes.Repeat([]byte{0xff}, controlSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c := parseControl(b); c.segment < 0 {
			t.Errorf("segments of %d bytes", c.segment)
		}
		// A well-formed message in front changes nothing.
		with := make([]byte, controlSize, controlSize+len(b))
		n := putSegment(with, 7)
		if got, want := parseControl(append(with[:n], b...)), parseControl(b); got != want {
			t.Errorf("behind another message: %+v, want %+v", got, want)
		}
	})
}
