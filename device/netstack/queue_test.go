package netstack

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// tcpPacket returns a packet of a TCP connection over IPv6, as the stack sends it, with
// size bytes of payload.
func tcpPacket(size, mss int) *stack.PacketBuffer {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: header.IPv6MinimumSize + header.TCPMinimumSize,
		Payload:            buffer.MakeWithData(payload(3, size)),
	})
	pkt.TransportProtocolNumber = header.TCPProtocolNumber
	tcp := header.TCP(pkt.TransportHeader().Push(header.TCPMinimumSize))
	tcp.Encode(&header.TCPFields{SrcPort: 1, DstPort: 2, SeqNum: 1 << 31, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagAck | header.TCPFlagPsh})
	ip := header.IPv6(pkt.NetworkHeader().Push(header.IPv6MinimumSize))
	ip.Encode(&header.IPv6Fields{
		PayloadLength: uint16(size + header.TCPMinimumSize), TransportProtocol: header.TCPProtocolNumber, HopLimit: 64,
		SrcAddr: tcpipAddress(addrA), DstAddr: tcpipAddress(addrB),
	})
	pkt.GSOOptions = stack.GSO{Type: stack.GSOTCPv6, NeedsCsum: true, MSS: uint16(mss), L3HdrLen: header.IPv6MinimumSize}
	return pkt
}

func TestQueueShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		data, ack, other := tcpPacket(60_000, 1000), tcpPacket(0, 1000), single([]byte{0x60})
		count := 0
		for ; !q.tcp.full(); count++ {
			if !q.push(data) {
				t.Fatal("data refused")
			}
		}
		if most := queueBytes/60_000 + 1; count > most {
			t.Errorf("%d packets of 60 kB let in, want at most %d", count, most)
		}
		var waiting atomic.Int32
		for range 3 {
			waiting.Add(1)
			go func() {
				q.push(data)
				waiting.Add(-1)
			}()
		}
		synctest.Wait()
		if waiting.Load() != 3 {
			t.Fatal("data does not wait for room")
		}
		for i := range queuePackets {
			if !q.push(other) || i%2 == 0 && !q.push(ack) {
				t.Fatal("waiting data keeps others out")
			}
		}
		if q.push(other) {
			t.Error("the queue has no bound")
		}
		var taken [2]*stack.PacketBuffer
		if n := q.take(taken[:], 1, 1500); n != 1 || taken[0] != data {
			t.Fatalf("took %d packets", n)
		}
		synctest.Wait()
		if left := waiting.Load(); left != 2 {
			t.Errorf("%d wait after one was taken, want 2", left)
		}
		q.close()
		synctest.Wait()
		if waiting.Load() != 0 || q.push(data) || q.push(other) {
			t.Error("a closed queue blocks or takes packets")
		}
	})
}

func TestInjectAndBound(t *testing.T) {
	n := newStack(t, addrA)
	packet := bytes.Repeat([]byte{0x60}, 100)
	for i := range queuePackets {
		if err := n.Inject(packet); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
	if err := n.Inject(packet); err == nil {
		t.Error("the queue has no bound")
	}
	total := 0
	for _, got := range readAll(t, n, 100, 200, queuePackets) {
		if !bytes.Equal(got, packet) {
			t.Fatal("packet was changed")
		}
		total++
	}
	if total != queuePackets {
		t.Errorf("read %d packets, want %d", total, queuePackets)
	}
}

// TestUDPNeverWaits floods a tunnel that is not read.
func TestUDPNeverWaits(t *testing.T) {
	n := newStack(t, addrA, addrA4)
	for _, to := range []netip.Addr{addrB, addrB4} {
		c, err := n.DialUDP(netip.AddrPort{}, netip.AddrPortFrom(to, 53))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		for i := range 2 * queuePackets {
			if _, err := c.Write(make([]byte, 1200)); err != nil {
				t.Fatalf("datagram %d to %s: %v", i, to, err)
			}
		}
		_ = c.Close()
	}
	if n.link.other.bytes > queueBytes+1500 {
		t.Errorf("%d bytes wait", n.link.other.bytes)
	}
	if dropped := n.stack.NICInfo()[nic].Stats.TxPacketsDroppedNoBufferSpace.Value(); dropped == 0 {
		t.Error("what was dropped is not counted")
	}
}
