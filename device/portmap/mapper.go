package portmap

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

var errNoExternal = errors.New("the gateway has no external address")

// Config is what a Mapper is made of.
type Config struct {
	Gateway func() (mesh.Gateway, error) // the next hop of encrypted packets; an error says why there is none
	Sockets Sockets
	Nonce   Nonce
	Log     hclog.Logger // default: none
}

// protocol is a way to ask a gateway.
type protocol interface {
	name() string
	// probe finds out whether the gateway speaks the protocol, and its external address if
	// that comes before a mapping.
	probe(ctx context.Context) (external netip.Addr, err error)
	// grant makes a mapping or renews it. The external port is suggested.
	grant(ctx context.Context, want mesh.Port, suggested uint16) (grant, error)
	// check reports whether mappings may be lost.
	check(ctx context.Context, leases []lease) (lost bool, err error)
	checkInterval() time.Duration
	release(ctx context.Context, l lease) error
}

// Mapper has a gateway map ports. Use New.
type Mapper struct {
	cfg     Config
	wake    mesh.Signal
	changed mesh.Signal
	gone    chan struct{} // closed when the mappings were removed after Release

	mu     sync.Mutex // guards what follows
	wish   mesh.PortWish
	left   bool
	cancel context.CancelFunc // ends the present step; nil: there is none
	report mesh.PortMapping

	state state // owned by Run
}

// New returns a Mapper, which starts nothing.
func New(c Config) *Mapper {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return &Mapper{
		cfg: c, wake: mesh.NewSignal(), changed: mesh.NewSignal(), gone: make(chan struct{}),
		wish: mesh.PortWish{Refused: starting}, report: mesh.PortMapping{Ports: []mesh.MappedPort{}, Reason: starting},
	}
}

// starting is why nothing is mapped before the first Set.
const starting = "the agent has just started"

// Set says which ports to map. A change is taken up at once.
func (m *Mapper) Set(w mesh.PortWish) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if reflect.DeepEqual(w, m.wish) {
		return
	}
	m.wish = w
	m.wake.Notify()
}

// Report returns what is mapped. It is not to be changed.
func (m *Mapper) Report() mesh.PortMapping {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.report
}

// Changed receives after another port was mapped, or one is not mapped any more.
func (m *Mapper) Changed() <-chan struct{} { return m.changed }

// Run asks the gateway until ctx ends. The mappings stay.
func (m *Mapper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		step, cancel := context.WithCancel(ctx)
		wait := retryNone
		if m.begin(cancel) {
			wait = m.step(step, time.Now())
		}
		cancel()
		if m.end() {
			m.state.releaseAll(ctx, m.cfg.Log)
			close(m.gone)
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// begin notes what ends a step, and reports whether there may be one.
func (m *Mapper) begin(cancel context.CancelFunc) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancel = cancel
	return !m.left
}

// end reports whether Release was called.
func (m *Mapper) end() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancel = nil
	return m.left
}

// Release removes the mappings, and ends Run. It returns when they are removed, or ctx ends.
func (m *Mapper) Release(ctx context.Context) {
	m.mu.Lock()
	m.left = true
	if m.cancel != nil {
		m.cancel()
	}
	m.mu.Unlock()
	m.wake.Notify()
	select {
	case <-m.gone:
	case <-ctx.Done():
	}
}

// step does what is due, and returns how long nothing will be.
func (m *Mapper) step(ctx context.Context, now time.Time) time.Duration {
	m.mu.Lock()
	w := m.wish
	m.mu.Unlock()
	s := &m.state
	g, err := m.cfg.Gateway()
	s.enter(g, now)
	reason, wait := refuse(&w, g, err, now.Sub(s.since))
	if reason != "" {
		s.releaseAll(ctx, m.cfg.Log)
		wait = cmp.Or(wait, retryNone)
	} else {
		s.releaseUnwanted(ctx, &w, m.cfg.Log)
		wait = s.maintain(ctx, m.cfg, &w, now)
	}
	if ctx.Err() == nil { // else answers are missing because of that
		m.show(s.report(&w, cmp.Or(reason, s.reason)))
	}
	return wait
}

// show makes a report the present one, and tells of changes.
func (m *Mapper) show(r mesh.PortMapping) {
	m.mu.Lock()
	old := m.report
	m.report = r
	m.mu.Unlock()
	same := slices.EqualFunc(old.Ports, r.Ports, func(a, b mesh.MappedPort) bool {
		a.Expires, b.Expires = time.Time{}, time.Time{}
		return a == b
	})
	if same && old.Reason == r.Reason && old.Protocol == r.Protocol && old.External == r.External && old.Gateway == r.Gateway {
		return
	}
	for i := range r.Ports {
		if p := &r.Ports[i]; p.External.IsValid() && !hasMapping(&old, p) {
			m.cfg.Log.Info("port mapped by the gateway", "use", p.Use, "port", p.Port, "network", p.Network, "external", p.External,
				"protocol", r.Protocol, "gateway", r.Gateway)
		}
	}
	for i := range old.Ports {
		if o := &old.Ports[i]; o.External.IsValid() && !hasMapping(&r, o) {
			m.cfg.Log.Info("port not mapped any more", "use", o.Use, "port", o.Port, "network", o.Network, "external", o.External, "reason", r.Reason)
		}
	}
	m.changed.Notify()
}

// hasMapping reports whether a port has the same external address in a report.
func hasMapping(r *mesh.PortMapping, p *mesh.MappedPort) bool {
	for i := range r.Ports {
		if o := &r.Ports[i]; o.External == p.External && o.Use == p.Use {
			return true
		}
	}
	return false
}

// Probe finds out which protocol the gateway speaks. It maps nothing.
func Probe(ctx context.Context, c Config, w mesh.PortWish) mesh.PortMapping {
	r := mesh.PortMapping{Ports: []mesh.MappedPort{}}
	g, err := c.Gateway()
	r.Gateway = g.Address
	if r.Reason, _ = refuse(&w, g, err, stunPatience); r.Reason != "" {
		return r
	}
	var tried attempts
	for _, p := range protocols(link{g, c.Sockets}, c.Nonce) {
		external, err := p.probe(ctx)
		if err != nil {
			tried.add(p, err)
			continue
		}
		r.Protocol, r.External, r.Reason = p.name(), external, "no agent is running, which would ask for it"
		if err := implausible(external); external.IsValid() && err != nil {
			r.Reason = err.Error()
		}
		return r
	}
	r.Reason = tried.text()
	return r
}
