package inflight

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// How many packets may be under way, in each direction, when another batch is
// let in. It bounds memory and queueing delay, and keeps the buffers that are
// used few enough to stay in the CPU's caches.
const flightLimit = 128

const (
	headerSize = wireguard.MessageTransportHeaderSize // in front of each packet
	sealedSize = wireguard.MessageTransportSize       // header and tag
)

// flight bounds the packets inside the device: it stands on both of its sides,
// in front of the data plane and of the UDP socket.
//
// It has to know a packet again when it leaves, sealed or opened, without
// looking it up. The device works in place, so the ticket lies in the packet's
// own buffer, in the first cache line that neither form of the packet reaches:
// at 64 + the length of the packet's content rounded up to 64. Padding rounds
// the length up to 16, so both forms give the same place. Where the buffer ends
// before that, as it does for packets above 65,408 bytes, there is no ticket, and
// the packet does not count.
type flight struct {
	seed    maphash.Seed
	out, in window
	// known are the receiver indexes of sessions that have brought packets, by
	// cell (0: none): only those count inwards, since anyone can send any index.
	known [flightCells]uint32 // guarded by in's mutex
}

func newFlight(limit int) *flight {
	return &flight{
		seed: maphash.MakeSeed(),
		out:  window{limit: limit, stale: staleOut},
		in:   window{limit: limit, stale: staleIn},
	}
}

// slip is where the ticket of a packet with content of n bytes lies in its
// buffer; nil if it ends before.
func slip(buf []byte, n int) []byte {
	at := (n+63)&^63 + 64
	if at+8 > cap(buf) {
		return nil
	}
	return buf[at : at+8 : at+8]
}

func (t ticket) put(slip []byte) {
	binary.NativeEndian.PutUint32(slip, t.cell)
	binary.NativeEndian.PutUint32(slip[4:], t.seq)
}

// ticketAt reads a ticket; nobody's, if there is none.
func ticketAt(slip []byte) ticket {
	if slip == nil {
		return ticket{cell: flightCells}
	}
	return ticket{binary.NativeEndian.Uint32(slip), binary.NativeEndian.Uint32(slip[4:])}
}

// sent settles what is about to be sent.
func (f *flight) sent(bufs [][]byte) {
	now := time.Now()
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	for _, b := range bufs {
		if len(b) > sealedSize && b[0] == wireguard.MessageTransportType {
			f.out.arrive(ticketAt(slip(b, len(b)-sealedSize)), now)
		}
	}
	f.out.wake()
}

// leaving gives tickets to packets that the device is about to take, and drops
// (size 0) those of flows that stand still. It returns how many packets and bytes
// it let in.
func (f *flight) leaving(bufs [][]byte, sizes []int, offset int, now time.Time) (packets, total int) {
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	var last []byte // destination of the packet before: super-packets repeat it
	var cell uint32
	for i, size := range sizes {
		to := destination(bufs[i][offset : offset+size])
		place := slip(bufs[i], size)
		if to == nil || place == nil {
			continue
		}
		if !bytes.Equal(to, last) {
			last, cell = to, uint32(maphash.Bytes(f.seed, to))%flightCells
		}
		t, ok := f.out.enter(cell, now)
		if !ok {
			sizes[i] = 0
			continue
		}
		t.put(place)
		packets, total = packets+1, total+size
	}
	return packets, total
}

// destination is a packet's destination address; nil if it is too short.
func destination(packet []byte) []byte {
	switch {
	case len(packet) >= ipv4.HeaderLen && packet[0]>>4 == 4:
		return packet[wireguard.IPv4offsetDst : wireguard.IPv4offsetDst+4]
	case len(packet) >= ipv6.HeaderLen && packet[0]>>4 == 6:
		return packet[wireguard.IPv6offsetDst : wireguard.IPv6offsetDst+16]
	}
	return nil
}

// received gives tickets to datagrams of sessions that are known to be alive.
func (f *flight) received(bufs [][]byte, sizes []int) {
	now := time.Now()
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	for i, size := range sizes {
		if size <= sealedSize || bufs[i][0] != wireguard.MessageTransportType {
			continue
		}
		place := slip(bufs[i], size-sealedSize)
		if place == nil {
			continue
		}
		t := ticket{cell: flightCells}
		index := receiver(bufs[i])
		if cell := index % flightCells; index != 0 && f.known[cell] == index {
			if own, ok := f.in.enter(cell, now); ok {
				t = own
			}
		}
		t.put(place)
	}
}

// receiver is the receiver index of a transport message.
func receiver(msg []byte) uint32 {
	return binary.LittleEndian.Uint32(msg[wireguard.MessageTransportOffsetReceiver:])
}

// opened notes the tickets of packets that are about to leave the device, which
// are all of one peer and in order: the last of each of the two sessions that
// can be in use speaks for those before it. So does one without a ticket of its
// session, whose sender pads in another way, for all that were let in so far.
func (f *flight) opened(bufs [][]byte, offset int) (last [2]ticket) {
	index, found := uint32(0), 0
	last = [2]ticket{{cell: flightCells}, {cell: flightCells}}
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	for i := len(bufs) - 1; i >= 0; i-- {
		b := bufs[i]
		if found > 0 && receiver(b) == index {
			continue
		}
		index = receiver(b)
		cell := index % flightCells
		f.known[cell] = index
		last[found] = ticketAt(slip(b, len(b)-offset))
		if last[found].cell != cell {
			last[found] = ticket{cell, f.in.cells[cell].issued - 1}
		}
		if found++; found == len(last) {
			break
		}
	}
	return last
}

// written settles the tickets that opened noted.
func (f *flight) written(last [2]ticket) {
	now := time.Now()
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	for _, t := range last {
		f.in.arrive(t, now)
	}
	f.in.wake()
}

// Between returns both sides as a device is to use them.
func Between(t tun.Device, b conn.Bind) (*TUN, *Bind) { return newFlight(flightLimit).between(t, b) }

func (f *flight) between(t tun.Device, b conn.Bind) (*TUN, *Bind) {
	return &TUN{Device: t, flight: f, room: f.out.waiter(), timer: time.NewTimer(0)}, &Bind{Bind: b, flight: f}
}

// TUN is the data plane's side of a flight.
type TUN struct {
	tun.Device
	flight *flight
	room   chan struct{}
	timer  *time.Timer
	codel  codel
}

// Read waits for room, and reads. The data plane fills a batch as long as there
// are packets and room for the next super-packet, so one with clearly more than
// a super-packet in it means that the queue stands. What is refused to flows that
// stand still is no reason to slow down the others.
func (g *TUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	g.flight.out.wait(g.room, g.timer)
	n, err := g.Device.Read(bufs, sizes, offset)
	now := time.Now()
	packets, total := g.flight.leaving(bufs, sizes[:n], offset, now)
	if g.codel.congested(packets, total > standing, now) {
		last := n - 1
		for sizes[last] == 0 {
			last--
		}
		if !markCE(bufs[last][offset : offset+sizes[last]]) {
			sizes[last] = 0
		}
	}
	return n, err
}

// Write writes, and makes room.
func (g *TUN) Write(bufs [][]byte, offset int) (int, error) {
	last := g.flight.opened(bufs, offset)
	n, err := g.Device.Write(bufs, offset)
	g.flight.written(last)
	return n, err
}

// Bind is the UDP side of a flight.
type Bind struct {
	conn.Bind
	flight *flight
	door   door
	device atomic.Pointer[wireguard.Device] // nil until there is one
	port   atomic.Uint32                    // as last opened; 0 if that failed
}

// Attach says which device it is that the bind serves.
func (g *Bind) Attach(d *wireguard.Device) { g.device.Store(d) }

// Port is the UDP port that is really open; 0 if none is.
func (g *Bind) Port() uint16 { return uint16(g.port.Load()) }

// underLoad reports whether the device answers handshakes with cookies.
func (g *Bind) underLoad() bool {
	d := g.device.Load()
	return d != nil && d.IsUnderLoad()
}

// Open opens the socket and bounds what its receive functions let in.
func (g *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := g.Bind.Open(port)
	if err != nil {
		actual = 0
	}
	g.port.Store(uint32(actual))
	for i, fn := range fns {
		fns[i] = g.receive(fn)
	}
	return fns, actual, err
}

func (g *Bind) receive(fn conn.ReceiveFunc) conn.ReceiveFunc {
	in := &g.flight.in
	room, timer := in.waiter(), time.NewTimer(0)
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		in.wait(room, timer)
		n, err := fn(bufs, sizes, eps)
		if errors.Is(err, net.ErrClosed) {
			in.forget(room)
			return n, err
		}
		g.door.admit(bufs, sizes[:n], time.Now(), g.underLoad)
		g.flight.received(bufs, sizes[:n])
		return n, err
	}
}

// Send makes room, and sends.
func (g *Bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	err := g.Bind.Send(bufs, ep)
	g.flight.sent(bufs)
	return err
}
