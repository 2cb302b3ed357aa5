//go:build !edge

package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/wirespan/wirespan/device/dns"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/resolved"
)

const dnsPort = 53

// addDNS adds the addresses of the DNS server: one in the mesh, and those of this host.
func (s *Services) addDNS(all map[string]service, c *config.DNS, at attachment) {
	if c.Enabled && at.address.IsValid() {
		address := netip.AddrPortFrom(at.address, dnsPort)
		name := fmt.Sprint("DNS in the mesh, on ", address)
		all[fmt.Sprint(name, at.number)] = service{name, func(ctx context.Context, ready func()) error {
			packets, err := s.cfg.Plane.ListenUDP(address)
			if err != nil {
				return err
			}
			l, err := s.cfg.Plane.ListenTCP(address)
			if err != nil {
				return errors.Join(err, packets.Close())
			}
			ready()
			return s.meshDNS.Serve(ctx, packets, l)
		}}
	}
	for _, l := range c.Listen {
		for i, address := range l.Addresses() {
			name := "DNS on " + address
			all[name] = service{name, optional(i > 0, func(ctx context.Context, ready func()) error {
				return s.serveDNS(ctx, address, ready)
			})}
		}
	}
}

// serveDNS answers queries at an address of this host.
func (s *Services) serveDNS(ctx context.Context, address string, ready func()) error {
	var lc net.ListenConfig
	packets, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return err
	}
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	ready()
	return s.hostDNS.Serve(ctx, packets, l)
}

// newDNS returns a server for the sources that may ask it.
func (s *Services) newDNS(allowed func(netip.Addr) bool) (*dns.Server, error) {
	return dns.New(dns.Config{
		Zone:    func() dns.Zone { return s.cfg.Directory.Names() },
		Allowed: allowed, Owner: s.owner, Upstreams: s.upstreams, Dial: s.cfg.Outside.DialContext,
	})
}

// fromHost reports whether the source of a query is on this host.
func (s *Services) fromHost(source netip.Addr) bool {
	return source.IsLoopback() || s.cfg.Directory.Reach(source) == agent.ReachOwn
}

// fromMesh reports whether it is in the mesh or on this host. With an exit node, all of the
// Internet is in the mesh, so only a server at the mesh address may use it.
func (s *Services) fromMesh(source netip.Addr) bool {
	return s.fromHost(source) || s.cfg.Directory.Reach(source) == agent.ReachMesh
}

// owner returns the mesh address of the peer that sends a query. What is limited is limited
// for all of its addresses together.
func (s *Services) owner(source netip.Addr) netip.Addr {
	address, _ := s.cfg.Directory.Peer(source)
	return address
}

// upstreams returns the servers that know all other names.
func (s *Services) upstreams() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings.DNS.Upstreams
}

// addResolved registers the DNS server in the mesh with systemd-resolved, for the interface of
// a TUN.
func (s *Services) addResolved(all map[string]service, c *config.DNS, at attachment) {
	if !c.Enabled || !c.Register || !at.address.IsValid() || s.cfg.Interface == "" {
		return
	}
	name := "names in systemd-resolved"
	all[fmt.Sprint(name, c.Domain, at.number)] = service{name, func(ctx context.Context, ready func()) error {
		link, err := net.InterfaceByName(s.cfg.Interface)
		if err != nil {
			return err
		}
		ready()
		return resolved.Run(ctx, resolved.Link{
			Index: link.Index, Server: at.address,
			Domains: []resolved.Domain{
				{Name: c.Domain, Search: true},
				{Name: dns.ReverseZone(netip.PrefixFrom(at.address, 64))},
			},
		}, func(problem string) {
			if problem != "" {
				s.cfg.Log.Info("names of the mesh are not registered", "reason", problem)
			} else {
				s.cfg.Log.Info("names of the mesh are registered with systemd-resolved", "domain", c.Domain)
			}
		})
	}}
}
