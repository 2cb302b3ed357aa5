package mesh

import (
	"net/netip"
	"time"
)

// Translation says whether a NAT stands between this host and the internet.
type Translation int

// Translations, as STUN servers show them.
const (
	TranslationUnknown Translation = iota
	TranslationNone
	TranslationPresent
)

// Gateway is the next hop of the encrypted packets that leave for the internet.
type Gateway struct {
	Address netip.Addr
	Source  netip.Addr // the address of this host that faces it
	Link    uint32     // index of the interface that leads to it
}

// Uses of ports.
const (
	PortWireGuard = "wireguard"
	PortDiscovery = "discovery"
	PortSTUN      = "stun"
)

// Port is a port of this host that others should reach through a NAT.
type Port struct {
	Use     string
	TCP     bool // instead of UDP
	Number  uint16
	Refused string // why it is not to be mapped; empty: it is
}

// Network returns "tcp" or "udp".
func (p Port) Network() string {
	if p.TCP {
		return "tcp"
	}
	return "udp"
}

// PortWish says which ports the gateway is to map to this host.
type PortWish struct {
	Refused     string // why none is to be mapped; empty: Ports are
	Ports       []Port
	Translation Translation
	Seen        []netip.Addr // where STUN servers see this host; a change may mean another gateway
	Pending     bool         // STUN servers are asked, and may answer soon
	Moves       int          // grows with every change of addresses, routes or links
}

// PortMapping is what the gateway maps to this host.
type PortMapping struct {
	Gateway  netip.Addr   `json:"gateway,omitzero"`
	Protocol string       `json:"protocol,omitempty"` // "PCP", "NAT-PMP" or "UPnP"
	External netip.Addr   `json:"external,omitzero"`  // the gateway's address, as it says
	Ports    []MappedPort `json:"ports"`
	Reason   string       `json:"reason,omitempty"` // why nothing is mapped
}

// MappedPort is a port that the gateway was asked to map.
type MappedPort struct {
	Use      string         `json:"use"`
	Network  string         `json:"network"` // "udp" or "tcp"
	Port     uint16         `json:"port"`
	External netip.AddrPort `json:"external,omitzero"` // zero: it is not mapped
	Expires  time.Time      `json:"expires,omitzero"`  // zero: never
	Reason   string         `json:"reason,omitempty"`  // why it is not mapped
}

// Mapped returns the external addresses of a use, of a network.
func (m PortMapping) Mapped(use, network string) (out []netip.AddrPort) {
	for i := range m.Ports {
		if p := &m.Ports[i]; p.Use == use && p.Network == network && p.External.IsValid() {
			out = append(out, p.External)
		}
	}
	return out
}
