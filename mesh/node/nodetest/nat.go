package nodetest

import (
	"net/netip"
	"slices"
	"time"
)

// MappingLifetime is how long after the last datagram from inside a gateway keeps a
// mapping, and lets replies in: the least that RFC 4787 allows.
const MappingLifetime = 2 * time.Minute

// firstPort is where gateways and hosts begin to choose ports.
const firstPort = 49152

// Kind is the kind of a gateway, in the terms of RFC 3489; in brackets those of RFC
// 4787. All kinds support hairpinning: a host inside reaches another one inside by its
// outside address and port.
type Kind int

const (
	// FullCone maps a socket to one outside port (endpoint-independent mapping), and
	// lets in everything that is sent there (endpoint-independent filtering).
	FullCone Kind = iota
	// AddressRestricted maps likewise, and lets in what comes from addresses that
	// the socket has sent to (address-dependent filtering).
	AddressRestricted
	// PortRestricted maps likewise, and lets in what comes from an address and port
	// that the socket has sent to (address and port-dependent filtering).
	PortRestricted
	// Symmetric maps a socket to another port for each address and port that it
	// sends to, and filters as PortRestricted.
	Symmetric
	// Firewall does not translate, and filters as PortRestricted.
	Firewall
)

// gateway connects a network to the one outside. Its router's mutex guards it.
type gateway struct {
	kind            Kind
	addresses       []netip.Addr // outside
	outside, inside *Network
	port            uint16 // of the next mapping
	mappings        []*mapping
}

// mapping is a socket inside, as the outside sees it.
type mapping struct {
	inside, outside netip.AddrPort
	remote          netip.AddrPort               // of a Symmetric gateway: the only remote that it is for; else zero
	used            time.Time                    // when the socket last sent something
	sent            map[netip.AddrPort]time.Time // when the socket last sent to a remote
}

// translateOutbound reports whether a datagram may leave.
func (g *gateway) translateOutbound(d *Datagram) bool {
	var remote netip.AddrPort
	if g.kind == Symmetric {
		remote = d.Destination
	}
	m := g.find(func(m *mapping) bool { return m.inside == d.Source && m.remote == remote })
	if m == nil {
		outside, ok := g.allocate(d.Source)
		if !ok {
			return false
		}
		m = &mapping{inside: d.Source, outside: outside, remote: remote, sent: map[netip.AddrPort]time.Time{}}
		g.mappings = append(g.mappings, m)
	}
	m.used = time.Now()
	m.sent[g.remote(d.Destination)] = m.used
	d.Source = m.outside
	return true
}

// translateInbound reports whether a datagram may come in.
func (g *gateway) translateInbound(d *Datagram) bool {
	m := g.find(func(m *mapping) bool { return m.outside == d.Destination })
	if m == nil {
		return false
	}
	if at, ok := m.sent[g.remote(d.Source)]; g.kind != FullCone && (!ok || expired(at)) {
		return false
	}
	d.Destination = m.inside
	return true
}

// find returns a mapping that has not expired.
func (g *gateway) find(match func(*mapping) bool) *mapping {
	g.mappings = slices.DeleteFunc(g.mappings, func(m *mapping) bool { return expired(m.used) })
	if i := slices.IndexFunc(g.mappings, match); i >= 0 {
		return g.mappings[i]
	}
	return nil
}

// remote returns the part of a remote address that the filter depends on.
func (g *gateway) remote(a netip.AddrPort) netip.AddrPort {
	if g.kind == AddressRestricted {
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

// allocate returns an outside address and port for a socket inside.
func (g *gateway) allocate(inside netip.AddrPort) (netip.AddrPort, bool) {
	if g.kind == Firewall {
		return inside, true
	}
	a, ok := firstOf(g.addresses, inside.Addr())
	g.port++
	return netip.AddrPortFrom(a, g.port), ok
}

func expired(used time.Time) bool { return time.Since(used) >= MappingLifetime }

// firstOf returns the first address of the family of another.
func firstOf(list []netip.Addr, family netip.Addr) (netip.Addr, bool) {
	i := slices.IndexFunc(list, func(a netip.Addr) bool { return a.Is4() == family.Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return list[i], true
}
