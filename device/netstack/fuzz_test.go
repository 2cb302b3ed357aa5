package netstack

import (
	"net/netip"
	"testing"
)

func FuzzWrite(f *testing.F) {
	f.Add([]byte{0x60})
	f.Add([]byte{0x45, 0, 0, 20})
	f.Add(append([]byte{0x60, 0, 0, 0, 0, 8, 58, 64}, make([]byte, 40)...))
	n, err := New(Config{Addresses: []netip.Addr{addrA, addrA4}, MTU: 1420})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = n.Close() })
	f.Fuzz(func(t *testing.T, packet []byte) {
		_, _ = n.Write([][]byte{packet, packet}, 0)
		_, _ = n.Write([][]byte{append(make([]byte, 16), packet...)}, 16)
	})
}

func BenchmarkWrite(b *testing.B) {
	n := newStack(b, addrA)
	// Nothing follows the header: in and through the stack, and nothing out.
	packet := make([]byte, 1400)
	packet[0], packet[6], packet[7] = 0x60, 59, 64 // no next header
	packet[4], packet[5] = byte((len(packet)-40)>>8), byte((len(packet)-40)&0xff)
	copy(packet[8:], addrB.AsSlice())
	copy(packet[24:], addrA.AsSlice())
	bufs := [][]byte{packet}
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = n.Write(bufs, 0)
	}
}

func BenchmarkInjectRead(b *testing.B) {
	n := newStack(b, addrA)
	packet := make([]byte, 1400)
	bufs, sizes := [][]byte{make([]byte, 2048)}, make([]int, 1)
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	for b.Loop() {
		_ = n.Inject(packet)
		_, _ = n.Read(bufs, sizes, 16)
	}
}
