package agenttest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Device is a data plane in memory. A peer that is given an endpoint of the
// Live set, or a candidate, answers after a round trip.
type Device struct {
	events mesh.Signal
	called mesh.Signal
	Gone   chan struct{}

	mu              sync.Mutex
	Peers           map[mesh.Key]mesh.PeerConfig
	Counters        map[mesh.Key]mesh.PeerStats
	Live            map[netip.AddrPort]bool
	Applies         []time.Time // every call of Apply
	Touched         int         // peers that Apply added, changed or removed
	ApplyErr        error
	StatsErr        error
	PortErr         error
	ConfigureErr    error
	Port            uint16
	PrivateKey      mesh.PrivateKey // as last set
	MTU             int
	Addresses       []netip.Prefix
	FragmentedHosts []netip.Addr
	Dropped         uint64 // initiations
	Looped          uint64 // encrypted packets that came back
	Tried           []mesh.Attempt
	HostChanges     int
	STUN            mesh.STUN
	MappedEndpoints []netip.AddrPort
	NATMapping      mesh.Behaviour
	RelayWish       mesh.RelayWish
	RelayStatuses   []mesh.RelayStatus
	Closed          bool
}

// RoundTrip is how long a peer takes to answer.
const RoundTrip = 20 * time.Millisecond

// NewDevice returns a device without peers.
func NewDevice() *Device {
	return &Device{
		events: mesh.NewSignal(), called: mesh.NewSignal(), Gone: make(chan struct{}), Port: 51820,
		Peers: map[mesh.Key]mesh.PeerConfig{}, Counters: map[mesh.Key]mesh.PeerStats{}, Live: map[netip.AddrPort]bool{},
	}
}

// Apply makes the peers exactly those given. One whose endpoint is in Live completes a
// handshake a round trip later.
func (d *Device) Apply(peers []mesh.PeerConfig) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Applies = append(d.Applies, time.Now())
	if d.ApplyErr != nil {
		return d.ApplyErr
	}
	gone := maps.Clone(d.Peers)
	for _, p := range peers {
		old, there := d.Peers[p.PublicKey]
		delete(gone, p.PublicKey)
		if p.Race && !old.Endpoint.IsValid() {
			p.Endpoint = d.choose(p.Candidates)
		}
		renewed := p.Endpoint.IsValid()
		if !renewed {
			p.Endpoint = old.Endpoint
		}
		if !there || old.PresharedKey != p.PresharedKey || old.Endpoint != p.Endpoint || !slices.Equal(old.AllowedIPs, p.AllowedIPs) {
			d.Touched++
		}
		d.Peers[p.PublicKey] = p
		s := d.Counters[p.PublicKey]
		s.PublicKey = p.PublicKey
		if renewed {
			s.Endpoint = p.Endpoint
		}
		if p.Race && s.Path == nil {
			s.Path = &mesh.PeerPath{Troubled: time.Now()}
		}
		d.Counters[p.PublicKey] = s
		if renewed && d.Live[p.Endpoint] {
			time.AfterFunc(RoundTrip, func() { d.Handshake(p.PublicKey, p.Endpoint) })
		}
	}
	for k := range gone {
		d.Touched++
		delete(d.Peers, k)
		delete(d.Counters, k)
	}
	return nil
}

// choose returns the first candidate that lives, or else the first one.
func (d *Device) choose(list []mesh.Candidate) (first netip.AddrPort) {
	for _, c := range list {
		if d.Live[c.Endpoint] {
			return c.Endpoint
		}
	}
	if len(list) > 0 {
		first = list[0].Endpoint
	}
	return first
}

// Handshake is one that the peer completes from an address.
func (d *Device) Handshake(k mesh.Key, from netip.AddrPort) {
	d.mu.Lock()
	var path *mesh.PeerPath
	if d.Peers[k].Race {
		path = &mesh.PeerPath{Settled: true}
	}
	d.Counters[k] = mesh.PeerStats{Path: path, PublicKey: k, Endpoint: from, ReceiveBytes: 148, TransmitBytes: 92, LastHandshakeTime: time.Now()}
	d.mu.Unlock()
	d.events.Notify()
}

// Call says that a standby peer has started a handshake.
func (d *Device) Call() { d.called.Notify() }

// Stats returns what the device holds of each peer, or StatsErr.
func (d *Device) Stats() ([]mesh.PeerStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.StatsErr != nil {
		return nil, d.StatsErr
	}
	return slices.Collect(maps.Values(d.Counters)), nil
}

// Configure notes MTU and addresses, or returns ConfigureErr.
func (d *Device) Configure(mtu int, addrs []netip.Prefix) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ConfigureErr != nil {
		return d.ConfigureErr
	}
	d.MTU, d.Addresses = mtu, addrs
	return nil
}

// SetListenPort moves the device to a port, or returns PortErr.
func (d *Device) SetListenPort(port uint16) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.PortErr != nil {
		return d.PortErr
	}
	if port != 0 {
		d.Port = port
	}
	return nil
}

// SetPrivateKey notes the key.
func (d *Device) SetPrivateKey(key mesh.PrivateKey) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.PrivateKey = key
	return nil
}

// HostChanged counts its calls.
func (d *Device) HostChanged() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.HostChanges++
}

// ListenPort returns Port.
func (d *Device) ListenPort() uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Port
}

// Ping answers after a round trip for every address of a peer.
func (d *Device) Ping(_ context.Context, addr netip.Addr, _ int) (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.Peers {
		for _, prefix := range p.AllowedIPs {
			if prefix.Contains(addr) {
				return RoundTrip, nil
			}
		}
	}
	return 0, errors.New("no peer has this address")
}

// Events signals handshakes.
func (d *Device) Events() <-chan struct{} { return d.events }

// Called signals a Call.
func (d *Device) Called() <-chan struct{} { return d.called }

// Done is closed by the test, through Gone.
func (d *Device) Done() <-chan struct{} { return d.Gone }

// Fragmented returns FragmentedHosts.
func (d *Device) Fragmented() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.FragmentedHosts
}

// DroppedInitiations returns Dropped.
func (d *Device) DroppedInitiations() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Dropped
}

// Returned returns Looped.
func (d *Device) Returned() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Looped
}

// Attempts returns Tried.
func (d *Device) Attempts() []mesh.Attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Tried
}

// SetSTUN notes the servers.
func (d *Device) SetSTUN(s mesh.STUN) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.STUN = s
}

// Mapped returns MappedEndpoints.
func (d *Device) Mapped() []netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.MappedEndpoints
}

// Translation says that nobody knows.
func (d *Device) Translation() mesh.Translation { return mesh.TranslationUnknown }

// Mapping returns NATMapping.
func (d *Device) Mapping() mesh.Behaviour {
	d.mu.Lock()
	defer d.mu.Unlock()
	return cmp.Or(d.NATMapping, mesh.BehaviourUnknown)
}

// SetRelays notes the wish.
func (d *Device) SetRelays(w mesh.RelayWish) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.RelayWish = w
}

// Relays returns RelayStatuses.
func (d *Device) Relays() []mesh.RelayStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.RelayStatuses
}

// Close notes that the device was closed.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Closed = true
	return nil
}

// Config is what the device holds.
func (d *Device) Config() map[mesh.Key]mesh.PeerConfig {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.Peers)
}

// With runs f under the lock.
func (d *Device) With(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// Signal runs f under the lock, and signals that the statistics have changed.
func (d *Device) Signal(f func()) {
	d.With(f)
	d.events.Notify()
}
