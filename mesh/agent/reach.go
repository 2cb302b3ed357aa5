package agent

import (
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// Reach says how this node gets to an address.
type Reach int

// Ways to an address. What the mesh owns never goes past it: an address of a node that is
// gone is refused.
const (
	ReachRefused Reach = iota // the mesh owns it, and no peer has it now, or the mesh does not run
	ReachMesh                 // through the tunnel
	ReachOwn                  // an address of this node or this host
	ReachOutside              // past the mesh
)

// Reach returns how this node gets to an address, by the last pass. It may be called by
// anyone.
func (a *Agent) Reach(addr netip.Addr) Reach {
	o := a.shown.Load()
	if o == nil {
		return ReachRefused
	}
	addr = addr.Unmap().WithZone("")
	switch {
	case slices.Contains(o.own, addr), slices.Contains(o.host, addr), addr.IsLoopback():
		return ReachOwn
	case a.cfg.Backend.Netstack:
		return o.reachInside(addr)
	}
	switch o.policy.Explain(firewall.Query{Destination: addr, Own: o.own, Gone: o.gone}).Path {
	case firewall.PathTunnel:
		return ReachMesh
	case firewall.PathBypass:
		return ReachOutside
	}
	return ReachRefused
}

// reachInside is Reach for a tunnel that ends in this process: the stack sends to whatever
// a peer has.
func (o *outlook) reachInside(addr netip.Addr) Reach {
	contains := func(p netip.Prefix) bool { return p.Contains(addr) }
	for i := range o.plan.Specs {
		if slices.ContainsFunc(o.plan.Specs[i].AllowedIPs, contains) {
			return ReachMesh
		}
	}
	if o.policy.Subnet.IsValid() && contains(o.policy.Subnet) || slices.ContainsFunc(o.policy.Routed, contains) {
		return ReachRefused
	}
	return ReachOutside
}

// Peer returns the mesh address of the peer that may send from an address, and the names by
// which rules know it: its nodename, if it owns that, and in an own mesh, where nodes prove
// who they are, its node id. It may be called by anyone.
func (a *Agent) Peer(addr netip.Addr) (address netip.Addr, names []string) {
	o := a.shown.Load()
	if o == nil {
		return netip.Addr{}, nil
	}
	addr = addr.Unmap().WithZone("")
	var owner *mesh.PeerSpec
	bits := -1
	for i := range o.plan.Specs {
		for _, p := range o.plan.Specs[i].AllowedIPs {
			if p.Contains(addr) && p.Bits() > bits {
				owner, bits = &o.plan.Specs[i], p.Bits()
			}
		}
	}
	if owner == nil {
		return netip.Addr{}, nil
	}
	if owner.Name != "" {
		names = append(names, owner.Name)
	}
	if o.proven {
		names = append(names, owner.NodeID)
	}
	return owner.Address, names
}
