package device

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Apply makes the device have exactly these peers. It reads the device's peers and
// sends one request with the differences, removals last, so that a network that moves
// from peer to peer always has one. A peer that is as it should be is not in the request. A zero Endpoint keeps the endpoint that the
// device has, and with Race the device chooses it. A peer without a session gets its keepalive as soon as it has one;
// until then handshakes are started at the keepalive's interval.
func (d *Device) Apply(peers []mesh.PeerConfig) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.Done():
		return errors.New("apply peers: the device has stopped")
	default:
	}
	// missing are all peers at first, and in the end those that the device lacks.
	missing := make(map[mesh.Key]*mesh.PeerConfig, len(peers))
	for i := range peers {
		if missing[peers[i].PublicKey] != nil {
			return fmt.Errorf("apply peers: duplicate peer %s", peers[i].PublicKey)
		}
		missing[peers[i].PublicKey] = &peers[i]
	}
	req := &d.request
	defer req.clear()
	var port uint16
	called := map[mesh.Key]bool{}
	now := time.Now()
	err := d.get(query{port: &port, config: true, peer: func(current *devicePeer) {
		desired := missing[current.publicKey]
		if desired == nil {
			req.remove(current.publicKey)
			return
		}
		delete(missing, current.publicKey)
		if desired.Standby && current.receive > 0 {
			called[current.publicKey] = true
		}
		req.change(desired, current, now)
	}})
	if err != nil {
		return fmt.Errorf("apply peers: %w", err)
	}
	for i := range peers { // in the given order, not the map's
		if desired := missing[peers[i].PublicKey]; desired != nil {
			req.add(desired)
		}
	}
	d.engine.SetPeers(peers) // before the device starts handshakes with new ones
	changed := !req.empty()
	if changed {
		if err := d.wg.IpcSetOperation(req.reader()); err != nil {
			return fmt.Errorf("apply peers: %w", err)
		}
	}
	d.keepalives.setPeers(peers, missing)
	d.setStandby(peers, called)
	if changed {
		d.keepalives.wake.Notify()
	}
	if port == 0 { // a change of port failed, and the old one was taken meanwhile
		if err := d.setPort(d.port); err != nil {
			return portError(d.port, err)
		}
	}
	return nil
}

// setRequest builds one "set" of WireGuard's configuration protocol. Its memory is
// used again, and wiped in between, since it holds preshared keys.
type setRequest struct {
	removals, updates bytes.Buffer
	prefixes          []netip.Prefix
}

func (r *setRequest) empty() bool { return r.removals.Len()+r.updates.Len() == 0 }

func (r *setRequest) reader() *bytes.Buffer {
	r.updates.Write(r.removals.Bytes())
	return &r.updates
}

func (r *setRequest) clear() { wipe(&r.removals, &r.updates) }

func (r *setRequest) remove(key mesh.Key) {
	line(&r.removals, "public_key=", hex.EncodeToString(key[:]))
	line(&r.removals, "remove=", "true")
}

// add adds a new peer.
func (r *setRequest) add(desired *mesh.PeerConfig) {
	line(&r.updates, "public_key=", hex.EncodeToString(desired.PublicKey[:]))
	r.settings(desired, &devicePeer{})
}

// change changes what differs of a peer. It writes nothing if nothing differs.
func (r *setRequest) change(desired *mesh.PeerConfig, current *devicePeer, now time.Time) {
	start := r.updates.Len()
	r.update(desired.PublicKey)
	header := r.updates.Len()
	r.settings(desired, current)
	interval := desired.PersistentKeepalive.Truncate(time.Second)
	if !current.hasSession(now) {
		interval = 0
	}
	if interval != current.keepalive {
		r.keepalive(interval)
	}
	if r.updates.Len() == header {
		r.updates.Truncate(start)
	}
}

// update begins the changes of a peer. If the peer was removed meanwhile, they have
// no effect, and the next Apply adds it with all its settings.
func (r *setRequest) update(key mesh.Key) {
	line(&r.updates, "public_key=", hex.EncodeToString(key[:]))
	line(&r.updates, "update_only=", "true")
}

func (r *setRequest) keepalive(interval time.Duration) {
	line(&r.updates, "persistent_keepalive_interval=", strconv.FormatInt(int64(interval/time.Second), 10))
}

// settings writes what differs, except the keepalive.
func (r *setRequest) settings(desired *mesh.PeerConfig, current *devicePeer) {
	b := &r.updates
	if psk := desired.PresharedKey.Reveal(); psk != current.presharedKey {
		b.WriteString("preshared_key=")
		b.Write(hex.AppendEncode(b.AvailableBuffer(), psk[:]))
		b.WriteByte('\n')
	}
	ep := mesh.Plain(desired.Endpoint)
	if len(desired.Candidates) > 0 && !current.endpoint.IsValid() { // upstream starts no handshake without one
		ep = desired.Candidates[0].Endpoint
	}
	if ep.IsValid() && ep != current.endpoint {
		line(b, "endpoint=", ep.String())
	}
	r.allowedIPs(desired.AllowedIPs, current.allowedIPs)
}

// allowedIPs adds and removes single prefixes, so that those which stay are never
// without a peer. Adding a prefix takes it from the peer that had it; the removal
// from that peer then has no effect.
func (r *setRequest) allowedIPs(desired, current []netip.Prefix) {
	r.prefixes = r.prefixes[:0]
	for _, p := range desired {
		r.prefixes = append(r.prefixes, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked())
	}
	sort.Slice(r.prefixes, func(i, j int) bool { return r.prefixes[i].Compare(r.prefixes[j]) < 0 })
	r.prefixes = slices.Compact(r.prefixes)
	sort.Slice(current, func(i, j int) bool { return current[i].Compare(current[j]) < 0 })
	for _, p := range current {
		if _, ok := slices.BinarySearchFunc(r.prefixes, p, netip.Prefix.Compare); !ok {
			line(&r.updates, "allowed_ip=-", p.String())
		}
	}
	for _, p := range r.prefixes {
		if _, ok := slices.BinarySearchFunc(current, p, netip.Prefix.Compare); !ok {
			line(&r.updates, "allowed_ip=", p.String())
		}
	}
}

func line(b *bytes.Buffer, key, value string) {
	b.WriteString(key)
	b.WriteString(value)
	b.WriteByte('\n')
}
