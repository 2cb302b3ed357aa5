//go:build edge

package access

import (
	"context"
	"errors"
	"net/netip"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// This file takes the place of services.go in the edge build, whose nodes have a TUN:
// programs reach the mesh by the kernel. There are no proxies, no forwards and no DNS server.

var errNoServices = errors.New("this is the edge build, which has no proxies, no forwards and no DNS server: remove proxy.listen, localForwards, meshForwards, dns.listen and dns.upstreams, or install the full build")

// Check returns an error if settings ask for what this build lacks.
func Check(c *config.Wirespan) error {
	if len(c.Proxy.Listen) > 0 || len(c.LocalForwards) > 0 || len(c.MeshForwards) > 0 || len(c.DNS.Listen) > 0 || len(c.DNS.Upstreams) > 0 {
		return errNoServices
	}
	return nil
}

// Services are none, but for the ways into the mesh.
type Services struct{ cfg Config }

// New returns services for a configuration.
func New(c Config, settings *config.Wirespan) (*Services, error) {
	return &Services{c}, Check(settings)
}

// Set does nothing: the settings have passed [Check].
func (*Services) Set(*config.Wirespan) {}

// Attach does nothing: nothing listens in the mesh.
func (*Services) Attach(netip.Addr) {}

// Run returns when ctx is done.
func (*Services) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Private says that there are no proxies.
func (*Services) Private(context.Context, func(Private)) error { return errNoServices }

// Reachable returns what programs reach by the present settings.
func (s *Services) Reachable() *Network { return s.Network(false) }

// Network returns what programs reach: the mesh.
func (s *Services) Network(bool) *Network { return NewNetwork(s.cfg.Directory, s.cfg.Plane, nil) }

// Changed never fires, since there are no Conditions.
func (*Services) Changed() <-chan struct{} { return nil }

// Conditions are none.
func (*Services) Conditions() []mesh.Condition { return nil }
