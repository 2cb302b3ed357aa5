package inflight

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// The plain and the encrypted packet give the same place for the tag, behind both.
func TestTagSpaceIsTheSameForBothForms(t *testing.T) {
	buf := make([]byte, wireguard.MaxMessageSize)
	for n := 1; n <= 65000; n++ {
		at := tagSpace(buf, n)
		for _, padded := range []int{n, (n + 15) &^ 15} {
			encrypted := encryptedSize + padded
			if &tagSpace(buf, encrypted-encryptedSize)[0] != &at[0] {
				t.Fatalf("content of %d bytes padded to %d: another place", n, padded)
			}
			if cap(buf)-cap(buf[encrypted:]) > (n+63)&^63+64 {
				t.Fatalf("content of %d bytes: the encrypted packet reaches the tag", n)
			}
		}
	}
	for n := 65000; n <= wireguard.MaxContentSize; n++ {
		if got := tagSpace(buf, n) != nil; got != (n <= 65408) || got != (tagSpace(buf, (n+15)&^15) != nil) {
			t.Fatalf("content of %d bytes has a place: %v", n, got)
		}
	}
}

// Packets that leave no room for a tag pass, and do not count.
func TestLargestPackets(t *testing.T) {
	g := newGate(3)
	bufs, sizes := buffers(2)
	sizes[0] = packetTo(bufs[0][headerSize:], wireguard.MaxContentSize, 1)
	sizes[1] = packetTo(bufs[1][headerSize:], 65408, 1)
	g.admitOutbound(bufs, sizes, headerSize, time.Now())
	if sizes[0] != wireguard.MaxContentSize || sizes[1] != 65408 || g.out.inFlight != 1 {
		t.Errorf("sizes %d, %d in flight", sizes, g.out.inFlight)
	}
	g.ackOutbound([][]byte{encrypt(bufs[0], 65408+64), encrypt(bufs[1], 65408)})
	if g.out.inFlight != 0 {
		t.Errorf("%d in flight after they were sent", g.out.inFlight)
	}
	g.sessions[9] = 9
	sizes[0], sizes[1] = message(bufs[0], 9, 65408), message(bufs[1], 9, 65408+64)
	g.admitInbound(bufs, sizes)
	if g.in.inFlight != 1 {
		t.Errorf("%d in flight inbound, want the smaller one", g.in.inFlight)
	}
	g.ackInbound(g.newestTags([][]byte{bufs[1][:headerSize+65408+64]}, headerSize))
	if g.in.inFlight != 0 {
		t.Errorf("%d in flight after the later one was decrypted", g.in.inFlight)
	}
}

// A peer may pad as it likes, and may put any tag into the padding.
func TestInboundPacketsWithOddPadding(t *testing.T) {
	g := newGate(100)
	bufs, sizes := buffers(3)
	for i := range bufs {
		g.sessions[1+i] = uint32(1 + i)
		sizes[i] = message(bufs[i], uint32(1+i), 1420)
	}
	g.admitInbound(bufs, sizes)
	tag{2, 0}.put(tagSpace(bufs[0], 40)) // another session's
	g.ackInbound(g.newestTags([][]byte{bufs[0][:headerSize+40]}, headerSize))
	if g.in.inFlight != 2 || g.in.slots[1].acked != 1 {
		t.Errorf("%d in flight, want those of the other sessions", g.in.inFlight)
	}
}

// batchPlane is a data plane that reads what read returns, and discards what is
// written.
type batchPlane struct {
	tun.Device
	read func(bufs [][]byte, sizes []int, offset int) (int, error)
}

func (f *batchPlane) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	return f.read(bufs, sizes, offset)
}
func (f *batchPlane) Write(bufs [][]byte, _ int) (int, error) { return len(bufs), nil }

type fakeBind struct {
	conn.Bind
	receive conn.ReceiveFunc
}

func (f *fakeBind) Send([][]byte, conn.Endpoint) error { return os.ErrInvalid }
func (f *fakeBind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	return []conn.ReceiveFunc{f.receive}, 1, nil
}

// buffers returns n of the device's message buffers.
func buffers(n int) (bufs [][]byte, sizes []int) {
	bufs, sizes = make([][]byte, n), make([]int, n)
	for i := range bufs {
		bufs[i] = make([]byte, wireguard.MaxMessageSize)
	}
	return bufs, sizes
}

// packetTo writes the header of an IPv4 packet of n bytes, and returns n.
func packetTo(b []byte, n int, host byte) int {
	b[0], b[wireguard.IPv4offsetDst] = 0x45, host
	return n
}

// encrypt pads a packet of n bytes as the device does, and returns its message.
func encrypt(buf []byte, n int) []byte {
	padded := (n + 15) &^ 15
	clear(buf[headerSize+n : encryptedSize+padded])
	buf[0] = wireguard.MessageTransportType
	return buf[:encryptedSize+padded]
}

func TestOutbound(t *testing.T) {
	next := []int{100, 0, 1420, 10, 64}
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i, n := range next {
			sizes[i] = packetTo(bufs[i][offset:], n, byte(i))
		}
		return len(next), nil
	}}
	g := newGate(3)
	tun, bind := g.sides(plane, &fakeBind{})
	bufs, sizes := buffers(8)
	if n, err := tun.Read(bufs, sizes, headerSize); n != len(next) || err != nil {
		t.Fatal(n, err)
	}
	if g.out.inFlight != 3 {
		t.Errorf("%d in flight, want the 3 that have a destination", g.out.inFlight)
	}
	handshake := append(make([]byte, 0, 148), 1)
	keepalive := encrypt(make([]byte, wireguard.MaxMessageSize), 0)
	sent := [][]byte{handshake, keepalive, encrypt(bufs[0][:cap(bufs[0])], 100), encrypt(bufs[2][:cap(bufs[2])], 1420)}
	if err := bind.Send(sent, nil); err == nil {
		t.Error("the bind's error is lost")
	}
	if g.out.inFlight != 1 {
		t.Errorf("%d in flight after two were sent, want 1", g.out.inFlight)
	}
}

func TestPacketsOfAStalledFlowAreDropped(t *testing.T) {
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i := range bufs {
			sizes[i] = packetTo(bufs[i][offset:], 60, 7)
		}
		return len(bufs), nil
	}}
	g := newGate(3)
	tun, _ := g.sides(plane, &fakeBind{})
	bufs, sizes := buffers(2 * stallBurst)
	admitted := 0
	for range 4 {
		if _, err := tun.Read(bufs, sizes, headerSize); err != nil {
			t.Fatal(err)
		}
		for _, n := range sizes {
			if n > 0 {
				admitted++
			}
		}
	}
	// The first batch, the burst of a stalled flow, and a few probes.
	if least, most := 2*stallBurst+stallBurst, 2*stallBurst+stallBurst+8; admitted < least || admitted > most {
		t.Errorf("admitted %d packets, want %d to %d", admitted, least, most)
	}
}

// Packets of a stalled flow do not count as a standing queue.
func TestRefusedPacketsAreNoQueue(t *testing.T) {
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i := range bufs {
			sizes[i] = packetTo(bufs[i][offset:], 1400, 7)
		}
		return len(bufs), nil
	}}
	tun, _ := newGate(1<<20).sides(plane, &fakeBind{})
	for i := range tun.gate.out.slots {
		tun.gate.out.slots[i] = slot{next: 1, stalled: true, moved: time.Now().Add(time.Hour)}
	}
	bufs, sizes := buffers(128)
	if _, err := tun.Read(bufs, sizes, headerSize); err != nil {
		t.Fatal(err)
	}
	if tun.codel.packets != 0 || slices.Max(sizes) != 0 {
		t.Errorf("%d packets count as a queue", tun.codel.packets)
	}
	tun.codel.empty = time.Now().Add(-longestInterval)
	if _, err := tun.Read(bufs, sizes, headerSize); err != nil || tun.codel.signals != 0 {
		t.Errorf("%d signals: %v", tun.codel.signals, err)
	}
}

// A packet that is refused gets no tag, not even that of the first slot.
func TestInboundOfTheFirstSlot(t *testing.T) {
	g := newGate(100)
	g.sessions[0] = numSlots // a session whose slot is 0
	g.in.slots[0] = slot{next: 1, stalled: true, moved: time.Now().Add(time.Hour)}
	bufs, sizes := buffers(1)
	sizes[0] = message(bufs[0], numSlots, 64)
	g.admitInbound(bufs, sizes)
	if got := readTag(tagSpace(bufs[0], 64)); got != noTag {
		t.Errorf("tag %v", got)
	}
	bufs[0] = bufs[0][:headerSize+64]
	if g.ackInbound(g.newestTags(bufs, headerSize)); g.in.slots[0].stalled {
		t.Error("the flow is still stalled although a packet has left")
	}
}

// message writes the header of a transport message with content of n bytes, and
// returns the message's size.
func message(b []byte, session uint32, n int) int {
	binary.LittleEndian.PutUint32(b, wireguard.MessageTransportType)
	binary.LittleEndian.PutUint32(b[4:], session)
	return encryptedSize + n
}

func TestInbound(t *testing.T) {
	session := 1 + rand.Uint32N(1<<31)
	closed := false
	receive := func(bufs [][]byte, sizes []int, _ []conn.Endpoint) (int, error) {
		if closed {
			return 0, net.ErrClosed
		}
		sizes[0] = message(bufs[0], session, 96)
		sizes[1] = message(bufs[1], session+1, 96) // an unknown session
		sizes[2] = message(bufs[2], session, 0)    // a keepalive
		sizes[3] = message(bufs[3], session, 1424)
		sizes[4] = message(bufs[4], 0, 96) // no session
		return 5, nil
	}
	g := newGate(100)
	tun, bind := g.sides(&batchPlane{}, &fakeBind{receive: receive})
	fns, _, err := bind.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	bufs, sizes := buffers(5)
	eps := make([]conn.Endpoint, 5)
	round := func(counted int) {
		t.Helper()
		if n, err := fns[0](bufs, sizes, eps); n != 5 || err != nil {
			t.Fatal(n, err)
		}
		if g.in.inFlight != counted {
			t.Errorf("%d in flight, want %d", g.in.inFlight, counted)
		}
		decrypted := [][]byte{bufs[0][:headerSize+81], bufs[3][:headerSize+1420]}
		if _, err := tun.Write(decrypted, headerSize); err != nil {
			t.Fatal(err)
		}
		if g.in.inFlight != 0 {
			t.Errorf("%d in flight after all were written", g.in.inFlight)
		}
	}
	round(0) // a session counts once a packet of it was decrypted
	round(2)
	closed = true
	if _, err := fns[0](bufs, sizes, eps); err == nil || len(g.in.waiters) != 0 {
		t.Errorf("closed: %v, %d waiters", err, len(g.in.waiters))
	}
}

// A batch can begin in one session and end in the next, after a rekeying.
func TestInboundAcknowledgesBothSessions(t *testing.T) {
	g := newGate(100)
	bufs, sizes := buffers(4)
	for i := range bufs {
		sizes[i] = message(bufs[i], uint32(1+i/2), 64)
		g.sessions[1+i/2] = uint32(1 + i/2)
	}
	g.admitInbound(bufs, sizes)
	for i := range bufs {
		bufs[i] = bufs[i][:headerSize+64]
	}
	if g.ackInbound(g.newestTags(bufs, headerSize)); g.in.inFlight != 0 {
		t.Errorf("%d in flight", g.in.inFlight)
	}
}

func BenchmarkGate(b *testing.B) {
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i := range bufs {
			sizes[i] = packetTo(bufs[i][offset:], 1420, 1)
		}
		return len(bufs), nil
	}}
	g := newGate(maxInFlight)
	tun, _ := g.sides(plane, &fakeBind{})
	bufs, sizes := buffers(128)
	encrypted := make([][]byte, len(bufs))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = tun.Read(bufs, sizes, headerSize)
		for i := range bufs {
			encrypted[i] = encrypt(bufs[i][:cap(bufs[i])], 1420)
		}
		g.ackOutbound(encrypted)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N*len(bufs)), "ns/packet")
}
