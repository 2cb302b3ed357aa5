package netstack

import (
	"net/netip"
	"slices"
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// connection returns a stack with a TCP connection to another stack, and segments of
// that connection to the first stack.
func connection(t testing.TB) (n *Netstack, packets [][]byte) {
	a, b := wire(t)
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c, err := a.DialTCPAddrPort(t.Context(), netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	packets = segments(t, newStack(t, addrB), 60_000, 1360, 16)
	local := netip.MustParseAddrPort(c.LocalAddr().String())
	for _, packet := range packets {
		ip := header.IPv6(packet[16:])
		ip.SetSourceAddress(tcpipAddress(addrB))
		ip.SetDestinationAddress(tcpipAddress(addrA))
		header.TCP(ip.Payload()).SetSourcePort(80)
		header.TCP(ip.Payload()).SetDestinationPort(local.Port())
	}
	return a, packets
}

// filtered returns stacks with a filter, and for each a batch of packets at offset 16:
// of a known TCP connection, of a known UDP flow, and refused ones.
func filtered(t testing.TB) map[string]struct {
	n     *Netstack
	batch [][]byte
} {
	repeat := func(packet []byte) [][]byte {
		var batch [][]byte
		for range batchSize {
			batch = append(batch, append(make([]byte, 16), packet...))
		}
		return batch
	}
	type c = struct {
		n     *Netstack
		batch [][]byte
	}
	cases := make(map[string]c)
	tcp, batch := connection(t)
	tcp.SetIngress(block)
	cases["tcp"] = c{tcp, batch}
	udp := blocked(t)
	sends(t, udp, udpPacket(udpA, udpB, nil))
	cases["udp"] = c{udp, repeat(udpPacket(udpB, udpA, make([]byte, 1300)))}
	cases["refused"] = c{blocked(t), repeat(udpPacket(udpB, udpA, make([]byte, 1300)))}
	return cases
}

func TestIngressAllocatesNothing(t *testing.T) {
	for name, c := range filtered(t) {
		f := c.n.ingress.Load()
		sizes := make([]int, len(c.batch))
		for i := range sizes {
			sizes[i] = len(c.batch[i]) - 16
		}
		related := unreachable(addrB, addrA, udpPacket(udpA, udpB, nil))
		now := f.flows.now()
		if allocs := testing.AllocsPerRun(100, func() {
			for _, packet := range c.batch {
				f.admits(packet[16:], now)
			}
			f.admits(related, now)
			f.learn(c.batch, sizes, 16)
		}); allocs > 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

// BenchmarkIngress writes batches to a stack that discards them, with and without the
// filter.
func BenchmarkIngress(b *testing.B) {
	for name, c := range filtered(b) {
		filter := c.n.ingress.Load()
		first := slices.Clone(c.batch[0])
		c.n.link.Attach(new(sink))
		for _, mode := range []string{"off", "on"} {
			b.Run(name+"/"+mode, func(b *testing.B) {
				c.n.ingress.Store(nil)
				if mode == "on" {
					c.n.ingress.Store(filter)
				}
				b.ReportAllocs()
				for b.Loop() {
					copy(c.batch[0], first) // joining changes the first packet's header
					_, _ = c.n.Write(c.batch, 16)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(c.batch)), "ns/packet")
			})
		}
		c.n.link.Attach(nil)
	}
}

// BenchmarkIngressParallel looks up a flow on all cores at once, as the receivers of
// several peers do.
func BenchmarkIngressParallel(b *testing.B) {
	n := blocked(b)
	sends(b, n, udpPacket(udpA, udpB, nil))
	f := n.ingress.Load()
	packet := udpPacket(udpB, udpA, make([]byte, 1300))
	b.ReportAllocs()
	var once sync.Once
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !f.admits(packet, f.flows.now()) {
				once.Do(func() { b.Error("refused") })
			}
		}
	})
}
