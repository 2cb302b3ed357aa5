package tun

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// framed returns packets with room in front, as a WireGuard device passes them.
func framed(packets ...[]byte) [][]byte {
	out := make([][]byte, len(packets))
	for i, p := range packets {
		out[i] = append(bytes.Repeat([]byte{0xee}, front), p...)
	}
	return out
}

// messages returns what was written to the kernel.
func messages(t testing.TB, kernel int) [][]byte {
	t.Helper()
	var out [][]byte
	for buf := make([]byte, 1<<17); ; {
		n, err := unix.Read(kernel, buf)
		if errors.Is(err, unix.EAGAIN) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, bytes.Clone(buf[:n]))
	}
}

func TestWrite(t *testing.T) {
	tcp := segment{seq: 1 << 31, id: 0xfff0, payload: numbered(40*1348 + 1), options: 12, flags: 0x18}
	tcp6 := segment{v6: true, payload: numbered(5000), flags: 0x11}
	udp, udp6 := segment{udp: true, payload: numbered(9 * 1200)}, segment{v6: true, udp: true, payload: numbered(3 * 100)}
	ack := segment{flow: 1}
	// The super-packets are as the kernel would hand them over. It does not need the
	// PSH of a first packet, but that of the last one must be in the header.
	for name, tc := range map[string]struct {
		in   [][]byte
		want [][]byte
	}{
		"single":    {[][]byte{ack.whole()}, [][]byte{ack.single()}},
		"TCP":       {tcp.cut(1348), [][]byte{tcp.super(1348)}},
		"TCP v6":    {tcp6.cut(1360), [][]byte{tcp6.super(1360)}},
		"UDP":       {udp.cut(1200), [][]byte{udp.super(1200)}},
		"UDP v6":    {udp6.cut(100), [][]byte{udp6.super(100)}},
		"mixed":     {slices.Concat(tcp6.cut(1360), [][]byte{ack.whole()}, udp.cut(1200)), [][]byte{tcp6.super(1360), ack.single(), udp.super(1200)}},
		"not an IP": {[][]byte{{1, 2, 3}}, [][]byte{append(make([]byte, 10), 1, 2, 3)}},
	} {
		n, kernel := pair(t, offloads)
		sent, err := n.Write(framed(tc.in...), front)
		if err != nil || sent != len(tc.in) {
			t.Errorf("%s: wrote %d, %v", name, sent, err)
		}
		same(t, name, messages(t, kernel), tc.want)
	}
}

func TestWriteWithoutOffloads(t *testing.T) {
	in := append(segment{udp: true, payload: numbered(2400)}.cut(1200), segment{payload: numbered(2000)}.cut(1000)...)
	for name, tc := range map[string]struct {
		mode mode
		want [][]byte
	}{
		"no UDP": {mode{virtio: true}, [][]byte{
			append(make([]byte, 10), in[0]...), append(make([]byte, 10), in[1]...), segment{payload: numbered(2000)}.super(1000),
		}},
		"no virtio header": {mode{}, in},
	} {
		n, kernel := pair(t, tc.mode)
		if sent, err := n.Write(framed(in...), front); err != nil || sent != len(in) {
			t.Errorf("%s: wrote %d, %v", name, sent, err)
		}
		same(t, name, messages(t, kernel), tc.want)
	}
}

// A packet that can't be written does not end Write.
func TestWriteGoesOn(t *testing.T) {
	n, kernel := pair(t, offloads)
	good := segment{v6: true, payload: numbered(100)}
	many := framed(slices.Repeat([][]byte{segment{flow: 3}.whole()}, 300)...)
	many[7], many[9] = many[7][:front], nil
	if sent, err := n.Write(many, front); sent != 298 || !errors.Is(err, unix.EINVAL) {
		t.Errorf("wrote %d, %v", sent, err)
	}
	if got := messages(t, kernel); len(got) != 298 {
		t.Errorf("%d packets arrived", len(got))
	}
	if sent, err := n.Write(framed(good.whole()), 4); sent != 0 || !errors.Is(err, unix.EINVAL) {
		t.Errorf("no room for a virtio header: wrote %d, %v", sent, err)
	}
	_ = n.file.Close()
	if _, err := n.Write(framed(good.whole()), front); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

// Write waits while the kernel takes no packets. Several goroutines may write.
func TestWriteWaits(t *testing.T) {
	n, kernel := pair(t, offloads)
	packet := segment{payload: numbered(1400)}.whole()
	var writers sync.WaitGroup
	const each = 2000
	for range 2 {
		writers.Go(func() {
			for range each / 4 {
				if _, err := n.Write(framed(packet, packet, packet, packet), front); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := unix.SetNonblock(kernel, false); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for range 2 * each {
		if got, err := unix.Read(kernel, buf); err != nil || got != virtioSize+len(packet) {
			t.Fatal(got, err)
		}
	}
	writers.Wait()
}

func TestWriteAllocatesNothing(t *testing.T) {
	n, kernel := pair(t, offloads)
	bufs := framed(append(segment{payload: numbered(40 * 1400)}.cut(1400), segment{flow: 3}.whole())...)
	original := bytes.Clone(bufs[0])
	buf := make([]byte, 1<<16)
	if allocs := testing.AllocsPerRun(20, func() {
		copy(bufs[0], original)
		sent, err := n.Write(bufs, front)
		if err != nil || sent != len(bufs) {
			t.Fatal(sent, err)
		}
		for range 2 {
			if _, err := unix.Read(kernel, buf); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := unix.Read(kernel, buf); err != unix.EAGAIN {
			t.Fatal("more than two messages")
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
