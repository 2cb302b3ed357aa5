package inflight

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
)

// Bind is the gate's side at the UDP socket. See [Between].
type Bind struct {
	conn.Bind
	gate       *gate
	handshakes handshakeLimit
	answers    holder
	device     atomic.Pointer[wireguard.Device] // nil before Attach
	port       atomic.Uint32                    // of the last Open; 0 if it failed
}

// Attach sets the device that the bind serves. Until then the device counts as
// not under load.
func (b *Bind) Attach(d *wireguard.Device) { b.device.Store(d) }

// Port returns the UDP port of the last Open; 0 if that failed.
func (b *Bind) Port() uint16 { return uint16(b.port.Load()) }

// underLoad reports whether the device answers handshakes with cookies.
func (b *Bind) underLoad() bool {
	d := b.device.Load()
	return d != nil && d.IsUnderLoad()
}

// Open opens the socket. The functions it returns wait for room in the inbound
// window before they receive, and drop (size 0) handshake messages above the
// limit.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := b.Bind.Open(port)
	if err != nil {
		actual = 0
	}
	b.port.Store(uint32(actual))
	for i, fn := range fns {
		fns[i] = b.receive(fn)
	}
	return fns, actual, err
}

func (b *Bind) receive(fn conn.ReceiveFunc) conn.ReceiveFunc {
	in := &b.gate.in
	room, timer := in.addWaiter(), time.NewTimer(0)
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		in.wait(room, timer)
		n, err := fn(bufs, sizes, eps)
		if errors.Is(err, net.ErrClosed) {
			in.removeWaiter(room)
			return n, err
		}
		b.handshakes.drop(bufs, sizes[:n], time.Now(), b.underLoad)
		b.gate.admitInbound(bufs, sizes[:n])
		return n, err
	}
}

// Send sends encrypted packets, and acknowledges them. It holds answers to handshakes if
// it was told to.
func (b *Bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	if b.hold(bufs, ep) {
		return nil
	}
	err := b.Bind.Send(bufs, ep)
	b.gate.ackOutbound(bufs)
	return err
}
