package netstack

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/wirespan/wirespan/device/offload"
)

// sink is a stack that keeps the packets it gets, or only counts them.
type sink struct {
	stack.NetworkDispatcher
	keep  bool
	got   [][]byte
	count int
}

func (s *sink) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	s.count++
	if s.keep {
		v := pkt.ToView()
		s.got = append(s.got, slices.Clone(v.AsSlice()))
		v.Release()
	}
}

// segments returns the packets of the tunnel that a packet of a TCP connection becomes,
// at an offset.
func segments(t testing.TB, n *Netstack, size, mss, offset int) [][]byte {
	pkt := tcpPacket(size, mss)
	n.link.push(pkt)
	pkt.DecRef()
	var bufs [][]byte
	for _, packet := range readAll(t, n, batchSize, 2048, segmentsOf(pkt, 1420)) {
		bufs = append(bufs, append(make([]byte, offset), packet...))
	}
	return bufs
}

// TestWriteJoins writes the packets that Read cut, with a packet of another kind in
// between, which must not end a super-packet.
func TestWriteJoins(t *testing.T) {
	n := newStack(t, addrA)
	for _, size := range []int{1, 1360, 5000, 40_000} {
		s := &sink{keep: true}
		bufs := segments(t, n, size, 1360, 16)
		n.link.Attach(s)
		other := append(make([]byte, 16), 0x45, 1, 2, 3)
		bufs = slices.Insert(bufs, len(bufs)/2, other, make([]byte, 16), make([]byte, 9))
		if count, err := n.Write(bufs, 16); count != len(bufs) || err != nil {
			t.Fatalf("wrote %d packets: %v", count, err)
		}
		i := slices.IndexFunc(s.got, func(p []byte) bool { return bytes.Equal(p, other[16:]) })
		if len(s.got) != 2 || i < 0 {
			t.Fatalf("%d bytes came as %d packets, want 1 beside the other", size, len(s.got)-1)
		}
		super := s.got[1-i]
		if want := payload(3, size); !bytes.Equal(super[60:], want) {
			t.Errorf("wrong payload of %d bytes, want %d", len(super)-60, size)
		}
		if ip := header.IPv6(super); int(ip.PayloadLength()) != len(super)-40 {
			t.Errorf("header says %d bytes, there are %d", ip.PayloadLength(), len(super)-40)
		}
		n.link.Attach(nil)
	}
}

func TestWriteTakesLargeBatches(t *testing.T) {
	n := newStack(t, addrA)
	s := new(sink)
	n.link.Attach(s)
	defer n.link.Attach(nil)
	bufs := slices.Repeat([][]byte{{0x60, 1}}, offload.MaxBatch+5)
	if _, err := n.Write(bufs, 0); err != nil || s.count != len(bufs) {
		t.Errorf("%d packets of %d arrived: %v", s.count, len(bufs), err)
	}
	if _, err := n.Write([][]byte{{0x10}, {0x60}}, 0); err == nil {
		t.Error("a packet that is not of IP was taken")
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	pool := sync.Pool{New: func() any { return new(int) }}
	if testing.AllocsPerRun(1, func() {
		for range 100 {
			pool.Put(pool.Get())
		}
	}) > 0 {
		t.Skip("the race detector makes sync.Pool forget")
	}
	n := newStack(t, addrA)
	super := segments(t, n, 60_000, 1360, 16)
	n.link.Attach(new(sink))
	defer n.link.Attach(nil)
	scratch := make([][]byte, len(super))
	for i := range scratch {
		scratch[i] = slices.Clone(super[i])
	}
	allocs := testing.AllocsPerRun(100, func() {
		copy(scratch[0], super[0]) // joining changes the first packet's header
		_, _ = n.Write(scratch, 16)
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkWrite(b *testing.B) {
	n := newStack(b, addrA)
	super := segments(b, n, 60_000, 1360, 16)
	n.link.Attach(new(sink))
	defer n.link.Attach(nil)
	first := slices.Clone(super[0])
	b.SetBytes(60_000)
	b.ReportAllocs()
	for b.Loop() {
		copy(super[0], first)
		_, _ = n.Write(super, 16)
	}
}

// FuzzWrite writes arbitrary bytes, and segments of a connection that were changed by
// them.
func FuzzWrite(f *testing.F) {
	f.Add([]byte{0x60}, uint16(0))
	f.Add([]byte{0x45, 0, 0, 20}, uint16(3))
	f.Add(append([]byte{0x60, 0, 0, 0, 0, 8, 58, 64}, make([]byte, 40)...), uint16(40))
	f.Add([]byte{0x80, 0x10, 0, 1}, uint16(52))
	n := newStack(f, addrA, addrA4)
	super := segments(f, n, 5000, 1000, 16)
	f.Fuzz(func(t *testing.T, data []byte, at uint16) {
		_, _ = n.Write([][]byte{slices.Clone(data), slices.Clone(data)}, 0)
		bufs := make([][]byte, len(super))
		for i := range super {
			bufs[i] = slices.Clone(super[i])
			if i%2 == 1 {
				copy(bufs[i][min(16+int(at), len(bufs[i])):], data)
			}
		}
		bufs = append(bufs, append(make([]byte, 16), data...))
		_, _ = n.Write(bufs, 16)
	})
}
