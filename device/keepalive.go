package device

import (
	"context"
	"fmt"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// sessionTime is for how long after a handshake there is a session to send
	// keepalives in: until upstream's initiators renew one at the latest. What is
	// left of it then is more than keeperTick.
	sessionTime = wireguard.RejectAfterTime - wireguard.KeepaliveTimeout - wireguard.RekeyTimeout
	// keeperTick is how often peers are looked at when nothing has happened.
	keeperTick = 10 * time.Second
	// initiationGap keeps a crowd of peers from taking all of the CPU at once; as
	// they are repeated at the same intervals, they stay spread.
	initiationGap = 2 * time.Millisecond
)

// keeper gives peers their persistent keepalive while they have a session, and
// starts handshakes with them while they have none.
//
// Upstream does the latter as well, for a keepalive that is due. But the
// keepalive waits for its session meanwhile, in a buffer of 64 KiB, which makes
// 64 MB if a thousand peers are down. So the interval is 0 until there is a
// session, and the keeper does what the keepalive would: it starts a handshake at
// once, and again when nothing was sent for an interval, as is the case once
// upstream has given up repeating the last one.
type keeper struct {
	wake  chan struct{}      // there is something to look at; capacity 1
	peers map[mesh.Key]*kept // those with a keepalive; guarded by Device.mu
}

// kept is a peer that is to have a keepalive.
type kept struct {
	interval time.Duration
	sent     uint64    // bytes, when last looked at
	since    time.Time // when they last grew, or a handshake was started; zero: never
}

func newKeeper() *keeper {
	return &keeper{wake: make(chan struct{}, 1), peers: make(map[mesh.Key]*kept)}
}

// want takes over what peers are to have; those that are new are forgotten before.
func (k *keeper) want(peers []mesh.PeerConfig, created map[mesh.Key]*mesh.PeerConfig) {
	old := k.peers
	k.peers = make(map[mesh.Key]*kept, len(peers))
	for i := range peers {
		p := &peers[i]
		interval := p.PersistentKeepalive.Truncate(time.Second)
		if interval <= 0 {
			continue
		}
		was := old[p.PublicKey]
		if was == nil || created[p.PublicKey] != nil {
			was = &kept{}
		}
		was.interval = interval
		k.peers[p.PublicKey] = was
	}
}

// look makes run look at the peers soon.
func (k *keeper) look() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// due takes note of a peer without a session, and says whether a handshake is
// to be started with it.
func (k *kept) due(h *held, now time.Time) bool {
	switch {
	case !h.endpoint.IsValid(): // nowhere to send it, yet
		return false
	case !k.since.IsZero() && h.transmit != k.sent:
		k.sent, k.since = h.transmit, now
		return false
	case !k.since.IsZero() && now.Sub(k.since) < k.interval-keeperTick: // it has been silent for up to a tick longer
		return false
	}
	k.sent, k.since = h.transmit, now
	return true
}

// hasSession reports whether the last handshake is young enough. One in the
// future is from before the clock was set, and tells nothing.
func (h *held) hasSession(now time.Time) bool {
	age := now.Sub(h.handshake)
	return !h.handshake.IsZero() && age >= 0 && age < sessionTime
}

// keep returns when ctx ends or the device is gone.
func (d *Device) keep(ctx context.Context) {
	tick := time.NewTicker(keeperTick)
	defer tick.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Done():
			return
		case <-d.keeper.wake:
		case <-tick.C:
		}
		due, err := d.keepalives(time.Now())
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

// keepalives switches them on and off, and returns with whom handshakes are due.
func (d *Device) keepalives(now time.Time) (due []mesh.Key, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.keeper.peers) == 0 {
		return nil, nil
	}
	req := &d.request
	defer req.clear()
	err = d.read(visitor{config: true, peer: func(h *held) {
		k := d.keeper.peers[h.publicKey]
		if k == nil {
			return
		}
		interval := k.interval
		if !h.hasSession(now) {
			interval = 0
			if k.due(h, now) {
				due = append(due, h.publicKey)
			}
		}
		if interval != h.keepalive {
			req.update(h.publicKey)
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

// initiate starts a handshake, unless one was within 5 s.
func (d *Device) initiate(key mesh.Key) {
	d.mu.Lock() // so that the peer isn't removed meanwhile
	defer d.mu.Unlock()
	if peer := d.wg.LookupPeer(wireguard.NoisePublicKey(key)); peer != nil {
		_ = peer.SendHandshakeInitiation(false) // it is repeated, and logged by upstream
	}
}
