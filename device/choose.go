package device

import (
	"net/netip"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device/clamp"
	"github.com/wirespan/wirespan/mesh"
)

// chooser is what the engine asks of the device to choose paths.
type chooser struct{ *Device }

// Initiate starts a handshake; see engine.Device.
func (c chooser) Initiate(key mesh.Key, restart bool, wanted func() bool) {
	c.with(key, func(peer *wireguard.Peer) {
		if !wanted() {
			return
		}
		if restart {
			peer.ExpireCurrentKeypairs()
		}
		_ = peer.SendHandshakeInitiation(false) // upstream logs errors, and repeats it
	})
}

// Keepalive sends a keepalive to a peer.
func (c chooser) Keepalive(key mesh.Key) { c.with(key, (*wireguard.Peer).SendKeepalive) }

// Rest ends the repetition of a handshake, by stopping the peer for a moment. What waits
// for the session is dropped.
func (c chooser) Rest(key mesh.Key) {
	c.with(key, func(peer *wireguard.Peer) {
		peer.Stop()
		peer.Start()
	})
}

// Echo asks for an echo; see engine.Device.
func (c chooser) Echo(to netip.Addr, done func(rtt time.Duration)) {
	if err := c.tun.echo(to, done); err != nil {
		c.log.Debug("test of a path", "peer", to, "error", err)
	}
}

// Probe asks for an echo of a size that nobody may fragment; see engine.Device.
func (c chooser) Probe(to netip.Addr, size int, done func(rtt time.Duration)) {
	if err := c.tun.probe(to, size, done); err != nil {
		c.log.Debug("probe of a path's MTU", "peer", to, "size", size, "error", err)
	}
}

// MTU returns the tunnel's MTU.
func (c chooser) MTU() int {
	mtu, err := c.tun.MTU()
	if err != nil {
		return 0
	}
	return mtu
}

// Limit says how large packets to peers should be.
func (c chooser) Limit(limits *clamp.Table) { c.clamped.Set(limits) }

// with calls f with a peer, if the device has it. The peer is not removed meanwhile.
func (c chooser) with(key mesh.Key, f func(*wireguard.Peer)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if peer := c.wg.LookupPeer(wireguard.NoisePublicKey(key)); peer != nil {
		f(peer)
	}
}

// initiate starts a handshake. Upstream ignores that if it started one within the
// last 5 s.
func (d *Device) initiate(key mesh.Key) {
	chooser{d}.Initiate(key, false, func() bool { return true })
}
