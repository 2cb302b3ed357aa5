//go:build !edge

package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/config"
)

// relayShape is what a server is made for. One of another shape is another server.
type relayShape struct {
	public4, public6 netip.Addr
	port             uint16 // of requests
	ports            config.PortRange
	bandwidth        int
	networks         string
	device           *device.Device  // at whose port requests come in
	founder          *embeddedServer // likewise; nil: this node has no discovery server that others reach
}

// addresses returns the addresses at which others reach the relay.
func (s *relayShape) addresses() (list []netip.Addr) {
	for _, a := range []netip.Addr{s.public4, s.public6} {
		if a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}

var errNoPublic = errors.New("relay: offer needs an address of this host that others reach: it has no public one (a port that a router maps is not enough), and none in relayNetworks; " +
	"name a public one in extraAnnouncedEndpoints if there is a 1:1 NAT, or set relay: auto")

// shape returns what is wanted; the zero shape is no relay.
func (r *relaying) shape() (relayShape, error) {
	c := r.secrets.settings.Load()
	r.mu.Lock()
	service, asked := r.service, r.asked
	r.mu.Unlock()
	dev := r.device()
	if c.Relay != config.RelayOffer || !c.KubeSpan.Enabled || !asked || dev == nil {
		return relayShape{}, nil
	}
	s := relayShape{
		port: dev.ListenPort(), device: dev, ports: c.RelayPorts, bandwidth: c.RelayBandwidth, networks: fmt.Sprint(c.RelayNetworks),
	}
	if f := r.founder(); f != nil && !f.listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		s.founder, s.port = f, f.port()
	}
	for _, a := range service.Public {
		switch a = a.Unmap(); {
		case !r.reachedAt(a, c):
		case a.Is4() && !s.public4.IsValid():
			s.public4 = a
		case a.Is6() && !s.public6.IsValid():
			s.public6 = a
		}
	}
	if !s.public4.IsValid() && !s.public6.IsValid() {
		return relayShape{}, errNoPublic
	}
	return s, nil
}

// sharedSpace is that of carriers' NATs (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// reachedAt reports whether others reach this node at an address: a public one, or one in networks
// that the settings name, of this host or named by the settings. Others are of a NAT.
func (r *relaying) reachedAt(a netip.Addr, c *config.Config) bool {
	named := func(ep netip.AddrPort) bool { return ep.Addr().Unmap() == a }
	if !r.isOwn(a) && !slices.ContainsFunc(c.KubeSpan.ExtraAnnouncedEndpoints, named) {
		return false
	}
	if slices.ContainsFunc(c.RelayNetworks, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return true
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a)
}
