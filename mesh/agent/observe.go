package agent

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"github.com/wirespan/wirespan/mesh"
)

// identify computes the identity. It changes with the cluster id and the setting mac.
func (a *Agent) identify() error {
	mac := a.config.MAC
	if a.self.Subnet == mesh.ULA(a.config.ClusterID) && bytes.Equal(a.selfMAC, mac) {
		return nil
	}
	self, err := a.cfg.Keys.Identity(a.config.ClusterID, mac)
	if err != nil {
		return err
	}
	if self.Address != a.self.Address {
		a.log.Info("identity", "node", self.NodeID, "address", self.Address, "publicKey", self.PublicKey, "cluster", mesh.ShortClusterID(a.config.ClusterID))
		a.plane.configured = false
	}
	a.self, a.selfMAC = self, a.config.MAC
	return nil
}

// observe reads the host's links, unless they are known to be unchanged. If that
// fails, the last ones stay in use.
func (a *Agent) observe() error {
	if a.host.links != nil {
		return nil
	}
	var underlay mesh.Underlay
	links, err := a.cfg.Host.Links()
	if err == nil {
		underlay, err = a.cfg.Host.Underlay()
	}
	if err != nil {
		a.host.links = a.host.lastLinks
		return fmt.Errorf("looking at this host: %w", err)
	}
	if a.host.lastLinks != nil && (!sameLinks(links, a.host.lastLinks) || !slices.Equal(underlay.Gateways, a.host.underlay.Gateways)) {
		a.host.moved, a.host.redial = true, true
		a.host.severed.add(hostWays{a.host.lastLinks, a.host.underlay.Gateways}, hostWays{links, underlay.Gateways})
	}
	a.host.links, a.host.lastLinks, a.host.underlay = links, links, underlay
	a.host.notes = a.cfg.Observed(links)
	if mtu := a.config.mtu(links); mtu != a.host.mtu {
		a.log.Info("tunnel MTU", "mtu", mtu, "configured", a.config.KubeSpan.MTU != 0)
		a.host.mtu = mtu
	}
	return nil
}

// describeHost returns what a decision needs of this host.
func (a *Agent) describeHost() (h mesh.Host) {
	h = mesh.Host{
		Hostname: a.cfg.Host.Hostname(), OperatingSystem: a.cfg.OS,
		Links: a.host.links, PublicAddresses: a.sources.public, Netstack: a.cfg.Backend.Netstack,
		Gateways: a.host.underlay.Gateways, DNSServers: a.host.underlay.DNSServers, DiscoveryServers: a.discoveryServers(), PeerDiscovery: a.config.Standalone(),
		DiscoveryPending: !a.sources.answered, PodNetworks: a.podNetworks(),
	}
	h.Hostname = cmp.Or(a.config.Hostname, h.Hostname, mesh.DerivedHostname(a.self.NodeID))
	h.Nodename = a.config.Nodename
	if h.Nodename == "" {
		var err error
		if h.Nodename, err = mesh.Nodename(h.Hostname); err != nil {
			h.Nodename = mesh.DerivedHostname(a.self.NodeID)
		}
	}
	if a.plane.device != nil {
		h.ListenPort = a.plane.device.ListenPort()
		h.Mapping, h.Relays = a.plane.device.Mapping(), a.plane.device.Relays()
		h.MappedEndpoints = slices.Concat(a.portMapping().Mapped(mesh.PortWireGuard, "udp"), a.plane.device.Mapped())
	}
	if a.cfg.Relaying != nil {
		h.RelayPort = a.cfg.Relaying.Port()
	}
	return h
}

// addressesOf returns the addresses of links.
func addressesOf(links []mesh.Link) (out []netip.Addr) {
	for i := range links {
		for _, p := range links[i].Addresses {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

// probe says to the device how to learn its mapped addresses.
func (a *Agent) probe() {
	if a.plane.device == nil {
		return
	}
	s := mesh.STUN{Servers: a.config.STUN, Answer: a.config.AnswerSTUN, Moves: a.host.moves}
	s.Local = addressesOf(a.host.links)
	sort.Slice(s.Local, func(i, j int) bool { return s.Local[i].Compare(s.Local[j]) < 0 })
	a.plane.device.SetSTUN(s)
}
