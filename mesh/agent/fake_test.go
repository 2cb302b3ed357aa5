package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// fakeDevice is a data plane in memory. A peer that is given an endpoint of the
// live set answers after a round trip.
type fakeDevice struct {
	events chan struct{}
	done   chan struct{}

	mu         sync.Mutex
	peers      map[mesh.Key]mesh.PeerConfig
	stats      map[mesh.Key]mesh.PeerStats
	live       map[netip.AddrPort]bool
	applied    []time.Time // every call of Apply
	touched    int         // peers that Apply added, changed or removed
	applyErr   error
	statsErr   error
	portErr    error
	port       uint16
	mtu        int
	addrs      []netip.Prefix
	fragmented []netip.Addr
	closed     bool
}

const roundTrip = 20 * time.Millisecond

func newFakeDevice() *fakeDevice {
	return &fakeDevice{
		events: make(chan struct{}, 1), done: make(chan struct{}), port: 51820,
		peers: map[mesh.Key]mesh.PeerConfig{}, stats: map[mesh.Key]mesh.PeerStats{}, live: map[netip.AddrPort]bool{},
	}
}

func (d *fakeDevice) Apply(peers []mesh.PeerConfig) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = append(d.applied, time.Now())
	if d.applyErr != nil {
		return d.applyErr
	}
	gone := maps.Clone(d.peers)
	for _, p := range peers {
		old, there := d.peers[p.PublicKey]
		delete(gone, p.PublicKey)
		renewed := p.Endpoint.IsValid()
		if !renewed {
			p.Endpoint = old.Endpoint
		}
		if !there || old.PresharedKey != p.PresharedKey || old.Endpoint != p.Endpoint || !slices.Equal(old.AllowedIPs, p.AllowedIPs) {
			d.touched++
		}
		d.peers[p.PublicKey] = p
		s := d.stats[p.PublicKey]
		s.PublicKey = p.PublicKey
		if renewed {
			s.Endpoint = p.Endpoint
		}
		d.stats[p.PublicKey] = s
		if renewed && d.live[p.Endpoint] {
			time.AfterFunc(roundTrip, func() { d.handshake(p.PublicKey, p.Endpoint) })
		}
	}
	for k := range gone {
		d.touched++
		delete(d.peers, k)
		delete(d.stats, k)
	}
	return nil
}

// handshake is one that the peer completes from an address.
func (d *fakeDevice) handshake(k mesh.Key, from netip.AddrPort) {
	d.mu.Lock()
	d.stats[k] = mesh.PeerStats{PublicKey: k, Endpoint: from, ReceiveBytes: 148, TransmitBytes: 92, LastHandshakeTime: time.Now()}
	d.mu.Unlock()
	select {
	case d.events <- struct{}{}:
	default:
	}
}

func (d *fakeDevice) Stats() ([]mesh.PeerStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.statsErr != nil {
		return nil, d.statsErr
	}
	return slices.Collect(maps.Values(d.stats)), nil
}

func (d *fakeDevice) Configure(mtu int, addrs []netip.Prefix) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mtu, d.addrs = mtu, addrs
	return nil
}

func (d *fakeDevice) SetListenPort(port uint16) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.portErr != nil {
		return d.portErr
	}
	d.port = port
	return nil
}

func (d *fakeDevice) ListenPort() uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.port
}

func (d *fakeDevice) Ping(_ context.Context, addr netip.Addr) (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.peers {
		for _, prefix := range p.AllowedIPs {
			if prefix.Contains(addr) {
				return roundTrip, nil
			}
		}
	}
	return 0, errors.New("no peer has this address")
}

func (d *fakeDevice) Events() <-chan struct{} { return d.events }
func (d *fakeDevice) Done() <-chan struct{}   { return d.done }

func (d *fakeDevice) Fragmented() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fragmented
}

func (d *fakeDevice) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

// config is what the device holds.
func (d *fakeDevice) config() map[mesh.Key]mesh.PeerConfig {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.peers)
}

// with runs f under the lock.
func (d *fakeDevice) with(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// fakeRegistry is a discovery service in memory.
type fakeRegistry struct {
	service   Service
	clusterID string
	nodeID    string
	changed   chan struct{}

	mu        sync.Mutex
	snap      discovery.Snapshot
	published []discovery.Local // without repetitions
	running   bool
	stopped   bool
	deleted   int
	deleteErr error
	deleting  chan struct{} // Delete waits for it; nil: it doesn't
}

func (r *fakeRegistry) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.stopped = false, true
	return nil
}

func (r *fakeRegistry) Publish(l discovery.Local) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = append(r.published, l)
}

func (r *fakeRegistry) Changed() <-chan struct{} { return r.changed }

func (r *fakeRegistry) Snapshot() discovery.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snap
}

func (r *fakeRegistry) Delete(ctx context.Context) error {
	r.mu.Lock()
	wait := r.deleting
	r.mu.Unlock()
	if wait != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		return errors.New("deleted while the client runs")
	}
	r.deleted++
	return r.deleteErr
}

// find makes the service show these affiliates.
func (r *fakeRegistry) find(affiliates ...mesh.Affiliate) {
	r.show(discovery.Snapshot{Affiliates: affiliates, Connected: true, Server: "discovery.example:443"})
}

func (r *fakeRegistry) show(s discovery.Snapshot) {
	r.mu.Lock()
	r.snap = s
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *fakeRegistry) last() discovery.Local {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.published) == 0 {
		return discovery.Local{}
	}
	return r.published[len(r.published)-1]
}

func (r *fakeRegistry) state() (running bool, deleted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running, r.deleted
}

// fakeHost is a machine in memory.
type fakeHost struct {
	changed chan struct{}

	mu    sync.Mutex
	links []mesh.Link
	mac   []byte
	err   error

	underlay mesh.Underlay
}

func newFakeHost() *fakeHost {
	return &fakeHost{
		changed: make(chan struct{}, 1), mac: []byte{2, 0, 0x5e, 0x10, 0, 1},
		links: []mesh.Link{{
			Name: "eth0", Up: true, DefaultRoute: true, MTU: 1500,
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
		}},
	}
}

func (h *fakeHost) Links() ([]mesh.Link, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links, h.err
}

func (h *fakeHost) Underlay() (mesh.Underlay, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.underlay, h.err
}

func (h *fakeHost) FirstMAC() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mac, h.err
}

func (h *fakeHost) Changed() <-chan struct{} { return h.changed }

func (h *fakeHost) change(f func()) {
	h.mu.Lock()
	f()
	h.mu.Unlock()
	h.changed <- struct{}{}
}

// fakeFirewall is a kernel in memory.
type fakeFirewall struct {
	changed chan struct{}

	mu       sync.Mutex
	policy   *firewall.Policy // nil: nothing is in place
	history  []firewall.Policy
	removed  int
	warnings []string
	err      error
	applied  func() // called by Apply
}

func (f *fakeFirewall) Apply(p firewall.Policy) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied != nil {
		f.applied()
	}
	if f.err != nil {
		return f.warnings, f.err
	}
	f.policy = &p
	f.history = append(f.history, p)
	return f.warnings, nil
}

func (f *fakeFirewall) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed++
	f.policy = nil
	return f.err
}

func (f *fakeFirewall) Lookup(q firewall.Query, p firewall.Policy) (firewall.Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.policy == nil {
		return firewall.Explanation{Path: firewall.PathBypass}, f.err
	}
	return f.policy.Explain(q), f.err
}

func (f *fakeFirewall) Changed() <-chan struct{} { return f.changed }

// routed is what is routed now.
func (f *fakeFirewall) routed() []netip.Prefix {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.policy == nil {
		return nil
	}
	return f.policy.Routed
}

// with runs fn under the lock.
func (f *fakeFirewall) with(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}
