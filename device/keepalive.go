package device

import (
	"context"
	"fmt"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// sessionTime is how long after a handshake a peer counts as having a session
	// in which to send keepalives: until upstream as initiator renews the session
	// at the latest. The session then lasts longer than another keepaliveTick.
	sessionTime = wireguard.RejectAfterTime - wireguard.KeepaliveTimeout - wireguard.RekeyTimeout
	// keepaliveTick is how often peers are checked when nothing has happened.
	keepaliveTick = 10 * time.Second
	// initiationGap is the time between two handshakes that are started, so that
	// many peers do not take all of the CPU at once. Handshakes are repeated at
	// equal intervals, so they stay spread.
	initiationGap = 2 * time.Millisecond
)

// keepalives are the peers that have a persistent keepalive. They get it while they
// have a session; while a peer has none, handshakes with it are started.
//
// Upstream starts handshakes as well when a keepalive is due. But meanwhile the
// keepalive waits for its session, in a buffer of 64 KiB: 64 MB if a thousand peers
// are down. So the device's interval is 0 until there is a session, and this
// package does what the keepalive would do. It starts a handshake at once, and
// again when nothing was sent for an interval, which is the case once upstream no
// longer repeats the last one.
type keepalives struct {
	wake  mesh.Signal                 // peers should be checked
	peers map[mesh.Key]*keepalivePeer // guarded by Device.mu
}

// keepalivePeer is a peer with a persistent keepalive.
type keepalivePeer struct {
	interval time.Duration
	race     bool      // the engine starts the handshakes
	sent     uint64    // bytes, at the last check
	since    time.Time // of the last change of sent, or start of a handshake; zero: never
}

func newKeepalives() *keepalives {
	return &keepalives{wake: mesh.NewSignal(), peers: make(map[mesh.Key]*keepalivePeer)}
}

// setPeers replaces the peers. What was known of a peer stays, unless the peer was
// created just now.
func (k *keepalives) setPeers(peers []mesh.PeerConfig, created map[mesh.Key]*mesh.PeerConfig) {
	old := k.peers
	k.peers = make(map[mesh.Key]*keepalivePeer, len(peers))
	for i := range peers {
		p := &peers[i]
		interval := p.PersistentKeepalive.Truncate(time.Second)
		if interval <= 0 {
			continue
		}
		peer := old[p.PublicKey]
		if peer == nil || created[p.PublicKey] != nil {
			peer = &keepalivePeer{}
		}
		peer.interval, peer.race = interval, p.Race
		k.peers[p.PublicKey] = peer
	}
}

// initiationDue checks a peer without a session, and reports whether to start a
// handshake with it.
func (k *keepalivePeer) initiationDue(p *devicePeer, now time.Time) bool {
	switch {
	case !p.endpoint.IsValid(): // nowhere to send it yet
		return false
	case !k.since.IsZero() && p.transmit != k.sent:
		k.sent, k.since = p.transmit, now
		return false
	case !k.since.IsZero() && now.Sub(k.since) < k.interval-keepaliveTick: // it may have been silent for a tick longer
		return false
	}
	k.sent, k.since = p.transmit, now
	return true
}

// hasSession reports whether the last handshake is recent enough. A handshake in
// the future happened before the clock was set back, so its age is unknown.
func (p *devicePeer) hasSession(now time.Time) bool {
	age := now.Sub(p.handshake)
	return !p.handshake.IsZero() && age >= 0 && age < sessionTime
}

// runKeepalives returns when ctx ends or the device has stopped.
func (d *Device) runKeepalives(ctx context.Context) {
	tick := time.NewTicker(keepaliveTick)
	defer tick.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Done():
			return
		case <-d.keepalives.wake:
		case <-tick.C:
		}
		due, err := d.checkKeepalives(time.Now())
		if err != nil {
			d.log.Debug("keepalives", "error", err)
		}
		for _, key := range due {
			select {
			case <-ctx.Done():
				return
			case <-gap.C:
			}
			d.initiate(key)
			gap.Reset(initiationGap)
		}
	}
}

// checkKeepalives switches keepalives on and off, and returns the peers with which
// a handshake is due.
func (d *Device) checkKeepalives(now time.Time) (due []mesh.Key, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.keepalives.peers) == 0 {
		return nil, nil
	}
	req := &d.request
	defer req.clear()
	err = d.get(query{keepalive: true, peer: func(p *devicePeer) {
		k := d.keepalives.peers[p.publicKey]
		if k == nil {
			return
		}
		interval := k.interval
		if !p.hasSession(now) {
			interval = 0
			if !k.race && k.initiationDue(p, now) {
				due = append(due, p.publicKey)
			}
		}
		if interval != p.keepalive {
			req.update(p.publicKey)
			req.keepalive(interval)
		}
	}})
	if err == nil && !req.empty() {
		err = d.wg.IpcSetOperation(req.reader())
	}
	if err != nil {
		return nil, fmt.Errorf("adjust keepalives: %w", err)
	}
	return due, nil
}
