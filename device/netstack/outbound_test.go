package netstack

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
)

func tcpipAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// readAll reads count packets, with that many buffers of size bytes at a time.
func readAll(t testing.TB, n *Netstack, buffers, size, count int) [][]byte {
	t.Helper()
	const offset = 7
	bufs, sizes := make([][]byte, buffers), make([]int, buffers)
	for i := range bufs {
		bufs[i] = make([]byte, offset+size)
	}
	var got [][]byte
	for len(got) < count {
		n, err := n.Read(bufs, sizes, offset)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			got = append(got, slices.Clone(bufs[i][offset:][:sizes[i]]))
		}
	}
	return got
}

// TestReadCuts reads the same super-packets with few and many buffers at a time.
func TestReadCuts(t *testing.T) {
	n := newStack(t, addrA)
	supers := []struct{ size, mss int }{{60_000, 1360}, {0, 1360}, {1, 1360}, {1360, 1360}, {1361, 1360}, {65_000, 500}, {5000, 9000}}
	for _, buffers := range []int{1, 3, 128, 200} {
		var want, got []byte
		count := 0
		for _, s := range supers {
			pkt := tcpPacket(s.size, s.mss)
			n.link.push(pkt)
			pkt.DecRef()
			segment := min(s.mss, 1420-60)
			count += max(1, (s.size+segment-1)/segment)
			want = append(want, payload(3, s.size)...)
		}
		packets := readAll(t, n, buffers, 1500, count)
		if len(packets) != count {
			t.Errorf("%d buffers: %d packets, want %d", buffers, len(packets), count)
		}
		for _, packet := range packets {
			verify(t, packet)
			got = append(got, packet[60:]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d buffers: wrong payload", buffers)
		}
	}
}

// TestReadCountsWhatDoesNotFit has buffers of different sizes for a super-packet, and a
// datagram that fits in none of them.
func TestReadCountsWhatDoesNotFit(t *testing.T) {
	n := newStack(t, addrA)
	_ = n.Inject(bytes.Repeat([]byte{0x60}, 1400))
	n.link.push(tcpPacket(1000, 300)) // segments of 300, 300, 300 and 100 bytes
	_ = n.Inject([]byte{0x60, 1})
	bufs, sizes := [][]byte{make([]byte, 400), make([]byte, 200), make([]byte, 400)}, make([]int, 3)
	var got []int
	for len(got) < 3 {
		count, err := n.Read(bufs, sizes, 0)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, sizes[:count]...)
	}
	// The first segment of 300 bytes fits, the others meet the small buffer.
	if want := []int{360, 160, 2}; !slices.Equal(got, want) {
		t.Errorf("sizes %v, want %v", got, want)
	}
	if lost := n.stack.Stats().DroppedPackets.Value(); lost != 3 {
		t.Errorf("%d packets counted as lost, want 3", lost)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	n := newStack(t, addrA)
	pkt := tcpPacket(60_000, 1360)
	bufs, sizes := make([][]byte, batchSize), make([]int, batchSize)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	allocs := testing.AllocsPerRun(100, func() {
		n.link.push(pkt)
		if count, err := n.Read(bufs, sizes, 16); count != 45 || err != nil {
			t.Fatal(count, err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkRead(b *testing.B) {
	n := newStack(b, addrA)
	pkt := tcpPacket(60_000, 1360)
	bufs, sizes := make([][]byte, batchSize), make([]int, batchSize)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	b.SetBytes(60_000)
	b.ReportAllocs()
	for b.Loop() {
		n.link.push(pkt)
		_, _ = n.Read(bufs, sizes, 16)
	}
}

// TestLargeDatagrams sends datagrams that are fragmented, with the checksum that IPv6
// requires.
func TestLargeDatagrams(t *testing.T) {
	a, b := wire(t)
	l, err := b.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 53))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, to := range []netip.Addr{addrB, addrB4} {
		c, err := a.DialUDP(netip.AddrPort{}, netip.AddrPortFrom(to, 53))
		if err != nil {
			t.Fatal(err)
		}
		sent := payload(4, 20_000)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(sent)+1)
		if n, _, err := l.ReadFrom(got); err != nil || !bytes.Equal(got[:n], sent) {
			t.Errorf("%s: %d bytes, %v", to, n, err)
		}
		_ = c.Close()
	}
}
