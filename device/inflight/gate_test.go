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

// Both forms of a packet have to give the same place for its ticket, behind both.
func TestSlipIsTheSameForBothForms(t *testing.T) {
	buf := make([]byte, wireguard.MaxMessageSize)
	for n := 1; n <= 65000; n++ {
		at := slip(buf, n)
		for _, padded := range []int{n, (n + 15) &^ 15} {
			sealed := sealedSize + padded
			if &slip(buf, sealed-sealedSize)[0] != &at[0] {
				t.Fatalf("content of %d bytes padded to %d: another place", n, padded)
			}
			if cap(buf)-cap(buf[sealed:]) > (n+63)&^63+64 {
				t.Fatalf("content of %d bytes: the sealed form reaches the ticket", n)
			}
		}
	}
	for n := 65000; n <= wireguard.MaxContentSize; n++ {
		if got := slip(buf, n) != nil; got != (n <= 65408) || got != (slip(buf, (n+15)&^15) != nil) {
			t.Fatalf("content of %d bytes has a place: %v", n, got)
		}
	}
}

// Packets that leave no room for a ticket pass all the same, uncounted.
func TestFlightOfLargestPackets(t *testing.T) {
	f := newFlight(3)
	bufs, sizes := buffers(2)
	sizes[0] = packetTo(bufs[0][headerSize:], wireguard.MaxContentSize, 1)
	sizes[1] = packetTo(bufs[1][headerSize:], 65408, 1)
	f.leaving(bufs, sizes, headerSize, time.Now())
	if sizes[0] != wireguard.MaxContentSize || sizes[1] != 65408 || f.out.count != 1 {
		t.Errorf("sizes %d, %d under way", sizes, f.out.count)
	}
	f.sent([][]byte{seal(bufs[0], 65408+64), seal(bufs[1], 65408)})
	if f.out.count != 0 {
		t.Errorf("%d under way after they were sent", f.out.count)
	}
	f.known[9] = 9
	sizes[0], sizes[1] = message(bufs[0], 9, 65408), message(bufs[1], 9, 65408+64)
	f.received(bufs, sizes)
	if f.in.count != 1 {
		t.Errorf("%d under way inwards, want the smaller one", f.in.count)
	}
	f.written(f.opened([][]byte{bufs[1][:headerSize+65408+64]}, headerSize))
	if f.in.count != 0 {
		t.Errorf("%d under way after the later one was opened", f.in.count)
	}
}

// A peer may pad as it likes, and put there what it likes.
func TestInboundFlightOfPaddedPackets(t *testing.T) {
	f := newFlight(100)
	bufs, sizes := buffers(3)
	for i := range bufs {
		f.known[1+i] = uint32(1 + i)
		sizes[i] = message(bufs[i], uint32(1+i), 1420)
	}
	f.received(bufs, sizes)
	ticket{2, 0}.put(slip(bufs[0], 40)) // another session's
	f.written(f.opened([][]byte{bufs[0][:headerSize+40]}, headerSize))
	if f.in.count != 2 || f.in.cells[1].arrived != 1 {
		t.Errorf("%d under way, want those of the other sessions", f.in.count)
	}
}

// batchPlane reads and writes what a test wants.
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

// packetTo writes an IPv4 packet of n bytes, and its size.
func packetTo(b []byte, n int, host byte) int {
	b[0], b[wireguard.IPv4offsetDst] = 0x45, host
	return n
}

// seal does to a buffer what the device does, and returns the message.
func seal(buf []byte, n int) []byte {
	padded := (n + 15) &^ 15
	clear(buf[headerSize+n : sealedSize+padded])
	buf[0] = wireguard.MessageTransportType
	return buf[:sealedSize+padded]
}

func TestOutboundFlight(t *testing.T) {
	next := []int{100, 0, 1420, 10, 64}
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i, n := range next {
			sizes[i] = packetTo(bufs[i][offset:], n, byte(i))
		}
		return len(next), nil
	}}
	f := newFlight(3)
	tun, bind := f.between(plane, &fakeBind{})
	bufs, sizes := buffers(8)
	if n, err := tun.Read(bufs, sizes, headerSize); n != len(next) || err != nil {
		t.Fatal(n, err)
	}
	if f.out.count != 3 {
		t.Errorf("%d under way, want the 3 that have a destination", f.out.count)
	}
	handshake := append(make([]byte, 0, 148), 1)
	keepalive := seal(make([]byte, wireguard.MaxMessageSize), 0)
	sent := [][]byte{handshake, keepalive, seal(bufs[0][:cap(bufs[0])], 100), seal(bufs[2][:cap(bufs[2])], 1420)}
	if err := bind.Send(sent, nil); err == nil {
		t.Error("the bind's error is lost")
	}
	if f.out.count != 1 {
		t.Errorf("%d under way after two were sent, want 1", f.out.count)
	}
}

func TestFlightDropsFlowsThatStandStill(t *testing.T) {
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i := range bufs {
			sizes[i] = packetTo(bufs[i][offset:], 60, 7)
		}
		return len(bufs), nil
	}}
	f := newFlight(3)
	tun, _ := f.between(plane, &fakeBind{})
	bufs, sizes := buffers(2 * grace)
	let := 0
	for range 4 {
		if _, err := tun.Read(bufs, sizes, headerSize); err != nil {
			t.Fatal(err)
		}
		for _, n := range sizes {
			if n > 0 {
				let++
			}
		}
	}
	// The first batch, what a parked flow may have at once, and a few knocks.
	if least, most := 2*grace+grace, 2*grace+grace+8; let < least || let > most {
		t.Errorf("let %d packets in, want %d to %d", let, least, most)
	}
}

// What a flow that stands still is refused is no queue.
func TestRefusedPacketsAreNoQueue(t *testing.T) {
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i := range bufs {
			sizes[i] = packetTo(bufs[i][offset:], 1400, 7)
		}
		return len(bufs), nil
	}}
	tun, _ := newFlight(1<<20).between(plane, &fakeBind{})
	for i := range tun.flight.out.cells {
		tun.flight.out.cells[i] = cell{issued: 1, parked: true, moved: time.Now().Add(time.Hour)}
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

// Tickets of a flow that is refused them are nobody's, also in the first cell.
func TestInboundFlightOfTheFirstCell(t *testing.T) {
	f := newFlight(100)
	f.known[0] = flightCells // a session whose cell is 0
	f.in.cells[0] = cell{issued: 1, parked: true, moved: time.Now().Add(time.Hour)}
	bufs, sizes := buffers(1)
	sizes[0] = message(bufs[0], flightCells, 64)
	f.received(bufs, sizes)
	if got := ticketAt(slip(bufs[0], 64)); got.cell != flightCells {
		t.Errorf("ticket %v", got)
	}
	bufs[0] = bufs[0][:headerSize+64]
	if f.written(f.opened(bufs, headerSize)); f.in.cells[0].parked {
		t.Error("the flow stays parked although a packet has arrived")
	}
}

// message writes a sealed message of a session with content of n bytes.
func message(b []byte, session uint32, n int) int {
	binary.LittleEndian.PutUint32(b, wireguard.MessageTransportType)
	binary.LittleEndian.PutUint32(b[4:], session)
	return sealedSize + n
}

func TestInboundFlight(t *testing.T) {
	session := 1 + rand.Uint32N(1<<31)
	closed := false
	receive := func(bufs [][]byte, sizes []int, _ []conn.Endpoint) (int, error) {
		if closed {
			return 0, net.ErrClosed
		}
		sizes[0] = message(bufs[0], session, 96)
		sizes[1] = message(bufs[1], session+1, 96) // nobody's
		sizes[2] = message(bufs[2], session, 0)    // a keepalive
		sizes[3] = message(bufs[3], session, 1424)
		sizes[4] = message(bufs[4], 0, 96) // nobody's
		return 5, nil
	}
	f := newFlight(100)
	tun, bind := f.between(&batchPlane{}, &fakeBind{receive: receive})
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
		if f.in.count != counted {
			t.Errorf("%d under way, want %d", f.in.count, counted)
		}
		opened := [][]byte{bufs[0][:headerSize+81], bufs[3][:headerSize+1420]}
		if _, err := tun.Write(opened, headerSize); err != nil {
			t.Fatal(err)
		}
		if f.in.count != 0 {
			t.Errorf("%d under way after all were written", f.in.count)
		}
	}
	round(0) // a session counts once it has brought something
	round(2)
	closed = true
	if _, err := fns[0](bufs, sizes, eps); err == nil || len(f.in.waiters) != 0 {
		t.Errorf("closed: %v, %d waiters", err, len(f.in.waiters))
	}
}

// The end of a batch can belong to the session after a rekeying.
func TestInboundFlightSettlesBothSessions(t *testing.T) {
	f := newFlight(100)
	bufs, sizes := buffers(4)
	for i := range bufs {
		sizes[i] = message(bufs[i], uint32(1+i/2), 64)
		f.known[1+i/2] = uint32(1 + i/2)
	}
	f.received(bufs, sizes)
	for i := range bufs {
		bufs[i] = bufs[i][:headerSize+64]
	}
	if f.written(f.opened(bufs, headerSize)); f.in.count != 0 {
		t.Errorf("%d under way", f.in.count)
	}
}

func BenchmarkFlight(b *testing.B) {
	plane := &batchPlane{read: func(bufs [][]byte, sizes []int, offset int) (int, error) {
		for i := range bufs {
			sizes[i] = packetTo(bufs[i][offset:], 1420, 1)
		}
		return len(bufs), nil
	}}
	f := newFlight(flightLimit)
	tun, _ := f.between(plane, &fakeBind{})
	bufs, sizes := buffers(128)
	sealed := make([][]byte, len(bufs))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = tun.Read(bufs, sizes, headerSize)
		for i := range bufs {
			sealed[i] = seal(bufs[i][:cap(bufs[i])], 1420)
		}
		f.sent(sealed)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N*len(bufs)), "ns/packet")
}
