package netstack

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// bufferSize leaves room for the largest MTU in the tests.
const bufferSize = 10_000

// wire returns two stacks, and carries packets between them as the tunnel would.
func wire(t testing.TB) (a, b *Netstack) {
	t.Helper()
	a, b = newStack(t, addrA, addrA4), newStack(t, addrB, addrB4)
	join(t, a, b, unchanged, unchanged)
	return a, b
}

// filter returns the batch of packets that leaves the wire for one that enters it.
type filter func(batch [][]byte) [][]byte

func unchanged(batch [][]byte) [][]byte { return batch }

// join carries packets between two stacks until they are closed, and checks each
// packet.
func join(t testing.TB, a, b *Netstack, there, back filter) {
	var pumps sync.WaitGroup
	pump := func(from, to *Netstack, pass filter) {
		const offset = 16
		bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
		for i := range bufs {
			bufs[i] = make([]byte, bufferSize)
		}
		for {
			n, err := from.Read(bufs, sizes, offset)
			if err != nil {
				if !errors.Is(err, os.ErrClosed) {
					t.Errorf("read: %v", err)
				}
				return
			}
			out := make([][]byte, n)
			for i := range out {
				verify(t, bufs[i][offset:][:sizes[i]])
				out[i] = bufs[i][:offset+sizes[i]]
			}
			if _, err := to.Write(pass(out), offset); err != nil {
				t.Errorf("write: %v", err)
			}
		}
	}
	pumps.Go(func() { pump(a, b, there) })
	pumps.Go(func() { pump(b, a, back) })
	t.Cleanup(func() { _, _ = a.Close(), b.Close(); pumps.Wait() })
}

// verify checks lengths and checksums of a TCP or UDP packet without options in
// its IP header.
func verify(t testing.TB, packet []byte) {
	var network header.Network
	switch packet[0] >> 4 {
	case 4:
		h := header.IPv4(packet)
		if !h.IsValid(len(packet)) || !h.IsChecksumValid() || int(h.TotalLength()) != len(packet) {
			t.Errorf("bad IPv4 header %x", packet[:20])
			return
		}
		if h.More() || h.FragmentOffset() > 0 {
			return // a fragment has no checksum of its own
		}
		network = h
	case 6:
		h := header.IPv6(packet)
		if !h.IsValid(len(packet)) || int(h.PayloadLength()) != len(packet)-header.IPv6MinimumSize {
			t.Errorf("bad IPv6 header %x", packet[:40])
			return
		}
		network = h
	default:
		t.Errorf("IP version %d", packet[0]>>4)
		return
	}
	protocol := network.TransportProtocol()
	if protocol != header.TCPProtocolNumber && protocol != header.UDPProtocolNumber {
		return
	}
	payload := network.Payload()
	sum := header.PseudoHeaderChecksum(protocol, network.SourceAddress(), network.DestinationAddress(), uint16(len(payload)))
	if sum = checksum.Checksum(payload, sum); sum != 0xffff {
		t.Errorf("wrong checksum in a packet of protocol %d and %d bytes", protocol, len(packet))
	}
}

// impaired is one direction of a wire. It drops, duplicates and delays packets, in a
// fixed pattern.
type impaired struct {
	count   int
	delayed []byte
}

func (l *impaired) pass(batch [][]byte) [][]byte {
	var out [][]byte
	for _, packet := range batch {
		l.count++
		switch {
		case l.count%197 == 0: // dropped
		case l.count%61 == 0:
			out = append(out, packet, slices.Clone(packet))
		case l.count%43 == 0:
			l.delayed = slices.Clone(packet)
		default:
			out = append(out, packet)
		}
		if l.count%43 == 5 && l.delayed != nil {
			out, l.delayed = append(out, l.delayed), nil
		}
	}
	return out
}
