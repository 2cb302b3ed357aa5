//go:build !edge

package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wirespan/wirespan/device/dns"
	"github.com/wirespan/wirespan/device/forward"
	"github.com/wirespan/wirespan/device/proxy"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// conditionService is the type of conditions about services that do not run.
const conditionService mesh.ConditionType = "ServiceUnavailable"

// Services are the proxies, forwards and DNS servers of a node.
type Services struct {
	cfg      Config
	limits   config.Limits
	meshDNS  *dns.Server // for nodes of the mesh, and this host
	hostDNS  *dns.Server // for this host
	forwards *forward.Forwarder
	keeper   keeper
	wake     mesh.Signal // the settings or the data plane have changed
	failed   mesh.Signal // the conditions have changed

	mu       sync.Mutex // guards what follows
	settings config.Wirespan
	mesh     attachment
	proxies  map[*proxy.Server]bool // those that run
	ended    proxy.Stats            // of the others
}

// attachment is a data plane and its address.
type attachment struct {
	address netip.Addr
	number  int // of how many there were
}

// New returns services for a configuration. Nothing listens before Run.
func New(c Config, settings *config.Wirespan) (*Services, error) {
	s := &Services{cfg: c, limits: settings.Limits, settings: *settings, wake: mesh.NewSignal(), failed: mesh.NewSignal(), proxies: map[*proxy.Server]bool{}}
	s.keeper.log, s.keeper.changed = c.Log, s.failed.Notify
	var err error
	if s.meshDNS, err = s.newDNS(s.fromMesh); err != nil {
		return nil, err
	}
	if s.hostDNS, err = s.newDNS(s.fromHost); err != nil {
		return nil, err
	}
	s.forwards, err = forward.New(forward.Config{
		Mesh: inMesh{s}, Names: s.namesOf, Changed: s.failed.Notify, Log: c.Log,
		MaxConnections: s.limits.Connections, MaxAssociations: s.limits.UDPAssociations, IdleTimeout: idle(s.limits),
	})
	return s, err
}

// Set changes the settings. It may be called by anyone, and returns at once.
func (s *Services) Set(settings *config.Wirespan) {
	s.mu.Lock()
	s.settings = *settings
	s.mu.Unlock()
	s.wake.Notify()
}

// Attach tells that there is a new data plane: what listened in the mesh must listen there.
func (s *Services) Attach(address netip.Addr) {
	s.mu.Lock()
	s.mesh.address = address
	s.mesh.number++
	s.mu.Unlock()
	s.wake.Notify()
}

// Run runs the services until ctx is done.
func (s *Services) Run(ctx context.Context) error {
	var forwarding sync.WaitGroup
	forwarding.Go(func() { _ = s.forwards.Run(ctx) }) // ends with ctx only
	defer func() {
		s.keeper.set(ctx, nil)
		forwarding.Wait()
	}()
	attached := 0
	for {
		s.mu.Lock()
		settings, at := s.settings, s.mesh
		s.mu.Unlock()
		if at.number == 0 {
			settings.MeshForwards = nil // there is no mesh to listen in
		}
		if err := s.forwards.Set(specs(settings.LocalForwards, settings.MeshForwards)); err != nil {
			s.cfg.Log.Error("forwards", "error", err) // config has checked them
		}
		if at.number != attached {
			attached = at.number
			s.forwards.Reset()
		}
		s.keeper.set(ctx, s.wanted(&settings, at))
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// wanted returns the services of a configuration.
func (s *Services) wanted(c *config.Wirespan, at attachment) map[string]service {
	all := map[string]service{}
	// The file is part of the settings: a new password ends what the old one has opened.
	password, _ := ReadPassword(c.Proxy.PasswordFile)
	digest := sha256.Sum256([]byte(password))
	for _, l := range c.Proxy.Listen {
		for i, address := range l.Addresses() {
			p := c.Proxy
			p.Listen = nil
			name := "proxy on " + address
			all[fmt.Sprint(name, p, digest)] = service{name, optional(i > 0, func(ctx context.Context, ready func()) error {
				return s.serveProxy(ctx, l.Network, address, p, ready)
			})}
		}
	}
	s.addDNS(all, &c.DNS, at)
	s.addResolved(all, &c.DNS, at)
	return all
}

// serveProxy runs a proxy on one address.
func (s *Services) serveProxy(ctx context.Context, network, address string, p config.Proxy, ready func()) error {
	password, err := ReadPassword(p.PasswordFile)
	if err != nil {
		return err
	}
	user := p.User
	if password == "" {
		user = ""
	}
	l, err := new(forward.Sockets).Listen(ctx, network, address)
	if err != nil {
		return err
	}
	ready()
	return s.runProxy(ctx, l, s.Network(p.Egress == config.EgressDirect), user, password)
}

func (s *Services) runProxy(ctx context.Context, l net.Listener, reach *Network, user, password string) error {
	server, err := proxy.New(proxy.Config{
		Network: reach, User: user, Password: password, Log: s.cfg.Log,
		Limits: proxy.Limits{Connections: s.limits.Connections, Associations: s.limits.UDPAssociations, Idle: idle(s.limits)},
	})
	if err != nil {
		_ = l.Close()
		return err
	}
	s.count(server, true)
	defer s.count(server, false)
	return server.Serve(ctx, l)
}

// count notes a proxy that runs, or runs no longer.
func (s *Services) count(p *proxy.Server, runs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if runs {
		s.proxies[p] = true
	} else {
		delete(s.proxies, p)
		s.ended = sum(s.ended, p.Stats())
	}
}

// idle returns the idle time-out as package proxy has it: negative for none.
func idle(l config.Limits) time.Duration {
	if l.IdleTimeout == 0 {
		return -1
	}
	return l.IdleTimeout
}

// Reachable returns what programs reach by the present settings.
func (s *Services) Reachable() *Network {
	s.mu.Lock()
	direct := s.settings.Proxy.Egress == config.EgressDirect
	s.mu.Unlock()
	return s.Network(direct)
}

// Network returns what programs reach: the mesh, and the outside only if direct is set.
func (s *Services) Network(direct bool) *Network {
	if direct {
		return NewNetwork(s.cfg.Directory, s.cfg.Plane, &s.cfg.Outside)
	}
	return NewNetwork(s.cfg.Directory, s.cfg.Plane, nil)
}

// Changed is notified when Conditions has changed.
func (s *Services) Changed() <-chan struct{} { return s.failed }

// Conditions tells which services do not run.
func (s *Services) Conditions() (list []mesh.Condition) {
	for _, f := range s.keeper.failures() {
		list = append(list, mesh.Condition{Type: conditionService, Subject: f.name, Message: fmt.Sprint(f.name, ": ", f.err)})
	}
	return append(list, s.forwardConditions()...)
}

// proxyStats returns the counters of all proxies, those that have ended included.
func (s *Services) proxyStats() proxy.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.ended
	for p := range s.proxies {
		all = sum(all, p.Stats())
	}
	return all
}

func sum(a, b proxy.Stats) proxy.Stats {
	a.Open += b.Open
	a.Associations += b.Associations
	a.Accepted += b.Accepted
	a.Refused += b.Refused
	a.AssociationsRefused += b.AssociationsRefused
	a.AuthFailures += b.AuthFailures
	a.BytesUp += b.BytesUp
	a.BytesDown += b.BytesDown
	a.DatagramsDropped += b.DatagramsDropped
	return a
}
