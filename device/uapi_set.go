package device

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Apply makes the device have exactly these peers. It reads what the device
// has, and sends one request with the differences, removals first; a zero
// Endpoint leaves the device's. Peers that are as they should be are not in it.
// Those without a session get their keepalive when they have one; until then
// handshakes are started as often as the keepalive would.
func (d *Device) Apply(peers []mesh.PeerConfig) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.Done():
		return errors.New("apply peers: the device has stopped")
	default:
	}
	want := make(map[mesh.Key]*mesh.PeerConfig, len(peers))
	for i := range peers {
		if want[peers[i].PublicKey] != nil {
			return fmt.Errorf("apply peers: peer %s is there twice", peers[i].PublicKey)
		}
		want[peers[i].PublicKey] = &peers[i]
	}
	req := &d.request
	defer req.clear()
	var port uint16
	now := time.Now()
	err := d.read(visitor{port: &port, config: true, peer: func(h *held) {
		w := want[h.publicKey]
		if w == nil {
			req.remove(h.publicKey)
			return
		}
		delete(want, h.publicKey)
		req.change(w, h, now)
	}})
	if err != nil {
		return fmt.Errorf("apply peers: %w", err)
	}
	for i := range peers { // in the given order, not the map's
		if w := want[peers[i].PublicKey]; w != nil {
			req.add(w)
		}
	}
	if !req.empty() {
		if err := d.wg.IpcSetOperation(req.reader()); err != nil {
			return fmt.Errorf("apply peers: %w", err)
		}
	}
	d.keeper.want(peers, want)
	if !req.empty() {
		d.keeper.look()
	}
	if port == 0 { // lost when a change of port failed and the old one was taken
		if err := d.setPort(d.port); err != nil {
			return portError(d.port, err)
		}
	}
	return nil
}

// request builds one "set" of WireGuard's configuration protocol. Its memory is
// used again, and wiped in between: it holds preshared keys.
type request struct {
	removals, updates bytes.Buffer
	prefixes          []netip.Prefix
}

func (r *request) empty() bool { return r.removals.Len()+r.updates.Len() == 0 }

func (r *request) reader() *bytes.Buffer {
	r.removals.Write(r.updates.Bytes())
	return &r.removals
}

func (r *request) clear() { wipe(&r.removals, &r.updates) }

func (r *request) remove(key mesh.Key) {
	line(&r.removals, "public_key=", hex.EncodeToString(key[:]))
	line(&r.removals, "remove=", "true")
}

// add makes a new peer.
func (r *request) add(w *mesh.PeerConfig) {
	line(&r.updates, "public_key=", hex.EncodeToString(w.PublicKey[:]))
	r.settings(w, &held{})
}

// change writes what differs; nothing if nothing does.
func (r *request) change(w *mesh.PeerConfig, h *held, now time.Time) {
	start := r.updates.Len()
	r.update(w.PublicKey)
	header := r.updates.Len()
	r.settings(w, h)
	interval := w.PersistentKeepalive.Truncate(time.Second)
	if !h.hasSession(now) {
		interval = 0
	}
	if interval != h.keepalive {
		r.keepalive(interval)
	}
	if r.updates.Len() == header {
		r.updates.Truncate(start)
	}
}

// update begins the changes of a peer. If it is gone by now, the next Apply adds
// it whole.
func (r *request) update(key mesh.Key) {
	line(&r.updates, "public_key=", hex.EncodeToString(key[:]))
	line(&r.updates, "update_only=", "true")
}

func (r *request) keepalive(interval time.Duration) {
	line(&r.updates, "persistent_keepalive_interval=", strconv.FormatInt(int64(interval/time.Second), 10))
}

// settings writes what differs, but for the keepalive.
func (r *request) settings(w *mesh.PeerConfig, h *held) {
	b := &r.updates
	if psk := w.PresharedKey.Reveal(); psk != h.presharedKey {
		b.WriteString("preshared_key=")
		b.Write(hex.AppendEncode(b.AvailableBuffer(), psk[:]))
		b.WriteByte('\n')
	}
	if ep := netip.AddrPortFrom(w.Endpoint.Addr().Unmap(), w.Endpoint.Port()); ep.IsValid() && ep != h.endpoint {
		line(b, "endpoint=", ep.String())
	}
	r.allowedIPs(w.AllowedIPs, h.allowedIPs)
}

// allowedIPs adds and removes single prefixes, so that those which stay are
// never without a peer. A prefix that moves goes with its addition; the former
// owner's removal then finds nothing.
func (r *request) allowedIPs(want, have []netip.Prefix) {
	r.prefixes = r.prefixes[:0]
	for _, p := range want {
		r.prefixes = append(r.prefixes, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked())
	}
	slices.SortFunc(r.prefixes, netip.Prefix.Compare)
	r.prefixes = slices.Compact(r.prefixes)
	slices.SortFunc(have, netip.Prefix.Compare)
	for _, p := range have {
		if _, ok := slices.BinarySearchFunc(r.prefixes, p, netip.Prefix.Compare); !ok {
			line(&r.updates, "allowed_ip=-", p.String())
		}
	}
	for _, p := range r.prefixes {
		if _, ok := slices.BinarySearchFunc(have, p, netip.Prefix.Compare); !ok {
			line(&r.updates, "allowed_ip=", p.String())
		}
	}
}

func line(b *bytes.Buffer, key, value string) {
	b.WriteString(key)
	b.WriteString(value)
	b.WriteByte('\n')
}
