package device

import "github.com/wirespan/wirespan/device/clamp"

// clamped is an Interface whose TCP packets fit the paths to peers.
type clamped struct {
	Interface
	tun *clamp.TUN
}

func newClamped(i Interface) clamped { return clamped{Interface: i, tun: clamp.New(i)} }

// Read reads a batch of packets that fit.
func (c clamped) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	return c.tun.Read(bufs, sizes, offset)
}

// Write writes a batch of packets.
func (c clamped) Write(bufs [][]byte, offset int) (int, error) { return c.tun.Write(bufs, offset) }
