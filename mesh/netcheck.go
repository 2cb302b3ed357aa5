package mesh

import "net/netip"

// STUN says how the device learns at which addresses others see it.
type STUN struct {
	Servers []string     // host:port
	Local   []netip.Addr // the addresses of this host
	Moves   int          // grows with every change of addresses, routes or links
	Answer  bool         // the device answers binding requests itself
}

// Behaviour is how a NAT maps ports, or which datagrams it lets in, in the terms of RFC 4787.
type Behaviour string

// Behaviours of NATs. A mapping may also be BehaviourNone or BehaviourEndpointDependent.
const (
	BehaviourUnknown              Behaviour = "unknown"
	BehaviourNone                 Behaviour = "none" // there is no NAT
	BehaviourEndpointIndependent  Behaviour = "endpoint-independent"
	BehaviourEndpointDependent    Behaviour = "endpoint-dependent" // on the address or also on the port
	BehaviourAddressDependent     Behaviour = "address-dependent"
	BehaviourAddressPortDependent Behaviour = "address-and-port-dependent"
)

// NAT is what is known about the NATs in front of this host, for one IP version.
type NAT struct {
	Family    string           `json:"family"`    // "ipv4" or "ipv6"
	Available bool             `json:"available"` // this host has a route for it
	Type      string           `json:"type"`      // see NATType
	Mapping   Behaviour        `json:"mapping"`
	Filtering Behaviour        `json:"filtering"`
	SamePort  bool             `json:"samePort"` // the outside port is this host's
	Hairpin   *bool            `json:"hairpin"`  // this host reaches its outside address; nil: not known
	Mapped    []netip.AddrPort `json:"mapped"`   // as servers see this host
}

// NATType names a NAT as RFC 3489 does, as far as it is known.
func NATType(mapping, filtering Behaviour) string {
	switch {
	case mapping == BehaviourNone:
		return "none"
	case mapping == BehaviourEndpointDependent:
		return "symmetric"
	case mapping == BehaviourUnknown:
		return "unknown"
	case filtering == BehaviourEndpointIndependent:
		return "full cone"
	case filtering == BehaviourAddressDependent:
		return "address-restricted"
	case filtering == BehaviourAddressPortDependent:
		return "port-restricted"
	}
	return "endpoint-independent"
}

// ServerCheck is whether a server of STUN or discovery answers.
type ServerCheck struct {
	Server  string         `json:"server"`  // as configured
	Address netip.AddrPort `json:"address"` // zero: the name was not resolved
	Millis  float64        `json:"milliseconds,omitempty"`
	Mapped  netip.AddrPort `json:"mapped,omitzero"` // of STUN: where it sees this host
	Error   string         `json:"error,omitempty"`
}

// NATCheck is what a device finds out about its NATs.
type NATCheck struct {
	Families []NAT         `json:"families"`
	STUN     []ServerCheck `json:"stun"`
}

// Netcheck is what a node finds out about its network.
type Netcheck struct {
	Running bool `json:"running"` // by the agent, from its own port
	NATCheck
	PortMapping PortMapping   `json:"portMapping"`
	Discovery   []ServerCheck `json:"discovery"` // whether a TCP connection can be opened
	Peers       []PeerCheck   `json:"peers"`     // empty without an agent, as what follows
	Relays      []RelayView   `json:"relays"`    // that this node uses, or tries to
	Relaying    RelayingView  `json:"relaying"`  // for others
}

// PeerCheck is the way to a peer.
type PeerCheck struct {
	Name     string         `json:"name"`
	State    PeerState      `json:"state"`
	Endpoint netip.AddrPort `json:"endpoint"`
	MTU      int            `json:"mtu"` // of the path, in bytes; 0: not known
	RTT      float64        `json:"rttMs,omitempty"`
	Relay    string         `json:"relay,omitempty"`     // by which the path leads
	Direct   string         `json:"notDirect,omitempty"` // with a relay: what became of direct ways
}
