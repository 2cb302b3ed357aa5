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
	// at the latest. The session then lasts for another KeepaliveTimeout.
	sessionTime = wireguard.RejectAfterTime - wireguard.KeepaliveTimeout - wireguard.RekeyTimeout
	// earlyTime is how much sooner than after the interval a handshake is started: the
	// peer may have been silent for longer than was seen.
	earlyTime = 10 * time.Second
	// keepaliveRetry is the time between checks if one has failed, and checkGap the
	// least time between two that nothing but time has asked for.
	keepaliveRetry = 10 * time.Second
	checkGap       = time.Second
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
// handshake with it, and when to check it again; zero: when it has changed.
func (k *keepalivePeer) initiationDue(p *devicePeer, now time.Time) (due bool, next time.Time) {
	if !p.endpoint.IsValid() { // nowhere to send it yet
		return false, time.Time{}
	}
	silent := k.interval - earlyTime
	switch {
	case k.since.IsZero():
		due = true
	case p.transmit != k.sent:
	case now.Sub(k.since) < silent:
		return false, k.since.Add(silent)
	default:
		due = true
	}
	k.sent, k.since = p.transmit, now
	return due, now.Add(silent)
}

// hasSession reports whether the last handshake is recent enough. A handshake in
// the future happened before the clock was set back, so its age is unknown.
func (p *devicePeer) hasSession(now time.Time) bool {
	age := now.Sub(p.handshake)
	return !p.handshake.IsZero() && age >= 0 && age < sessionTime
}

// runKeepalives returns when ctx ends or the device has stopped.
func (d *Device) runKeepalives(ctx context.Context) {
	check := time.NewTimer(0)
	defer check.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Done():
			return
		case <-d.keepalives.wake:
		case <-check.C:
		}
		now := time.Now()
		due, next, err := d.checkKeepalives(now)
		if err != nil {
			d.log.Debug("keepalives", "error", err)
			next = now.Add(keepaliveRetry)
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
		if check.Stop(); !next.IsZero() {
			check.Reset(max(time.Until(next), checkGap))
		}
	}
}

// checkKeepalives switches keepalives on and off. It returns the peers with which a
// handshake is due, and when to check again if nothing happens; zero: never.
func (d *Device) checkKeepalives(now time.Time) (due []mesh.Key, next time.Time, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.keepalives.peers) == 0 {
		return nil, time.Time{}, nil
	}
	req := &d.request
	defer req.clear()
	err = d.get(query{keepalive: true, peer: func(p *devicePeer) {
		k := d.keepalives.peers[p.publicKey]
		if k == nil {
			return
		}
		interval, again := k.interval, p.handshake.Add(sessionTime)
		if !p.hasSession(now) {
			start := false
			if interval, again = 0, (time.Time{}); !k.race {
				start, again = k.initiationDue(p, now)
			}
			if start {
				due = append(due, p.publicKey)
			}
		}
		if next.IsZero() || !again.IsZero() && again.Before(next) {
			next = again
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
		return nil, time.Time{}, fmt.Errorf("adjust keepalives: %w", err)
	}
	return due, next, nil
}
