package mesh

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// relayZone begins the zone of an address that is reached by a relay.
const relayZone = "relay."

// Via returns the endpoint of a peer as it is reached by a relay: the same address and port,
// scoped by the relay (as RFC 4007 scopes addresses by links). So it differs from the endpoint
// that is reached directly, and can be compared, used as a key, printed and parsed as such. IPv4
// addresses are mapped, since only IPv6 addresses have zones.
func Via(ep netip.AddrPort, relay string) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(ep.Addr().As16()).WithZone(relayZone+relay), ep.Port())
}

// Direct returns an endpoint without the relay by which it is reached, whose name is empty for
// one that is not.
func Direct(ep netip.AddrPort) (at netip.AddrPort, relay string) {
	relay, found := strings.CutPrefix(ep.Addr().Zone(), relayZone)
	if !found {
		return netip.AddrPortFrom(ep.Addr().Unmap(), ep.Port()), ""
	}
	return netip.AddrPortFrom(ep.Addr().WithZone("").Unmap(), ep.Port()), relay
}

// Plain returns an endpoint with its IPv4 address as such, if that is mapped. One that is reached
// by a relay stays as it is.
func Plain(ep netip.AddrPort) netip.AddrPort {
	if ep.Addr().Zone() != "" {
		return ep
	}
	return netip.AddrPortFrom(ep.Addr().Unmap(), ep.Port())
}

// EndpointText returns an endpoint as people read it: with the relay by which it is reached, if
// any; empty for none.
func EndpointText(ep netip.AddrPort) string {
	at, relay := Direct(ep)
	switch {
	case !ep.IsValid():
		return ""
	case relay == "":
		return at.String()
	}
	return at.String() + " via " + relay
}

// MaxRelayNetworks is how many private networks a member says that it relays to.
const MaxRelayNetworks = 8

// Transports of a RelayServer.
const (
	RelayUDP = "udp"
	RelayTCP = "tcp"
	RelayTLS = "tls"
)

// RelayServer is a TURN server that is no member.
type RelayServer struct {
	Host      string // a name or an address
	Port      uint16
	Transport string
}

// String returns the server's URI (RFC 7065).
func (r RelayServer) String() string {
	at := r.Host + ":" + strconv.Itoa(int(r.Port))
	if strings.Contains(r.Host, ":") {
		at = "[" + r.Host + "]:" + strconv.Itoa(int(r.Port))
	}
	switch r.Transport {
	case RelayTLS:
		return "turns:" + at
	case RelayTCP:
		return "turn:" + at + "?transport=tcp"
	}
	return "turn:" + at
}

// Relay is a TURN server (RFC 8656) that this node may use.
type Relay struct {
	Name     string // the label of the member that offers it, or the URI of another server
	NodeID   string // of the member; empty: it is Other
	Other    RelayServer
	Servers  []netip.AddrPort // of the member: where it takes requests by UDP, TCP and TLS
	Family6  bool             // of the relayed address
	Networks []netip.Prefix   // private ones to which it relays
}

// Reaches reports whether a relay sends to an address: a public one, or one in a private network
// that it relays to.
func (r *Relay) Reaches(a netip.Addr) bool {
	switch {
	case a.Zone() != "" || !reachable(a) || IsKubeSpanULA(a):
		return false
	case !isPrivate(a):
		return true
	}
	return slices.ContainsFunc(r.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// RelayWish says which relays the device is to use.
type RelayWish struct {
	Relays []Relay          // the most wanted first
	Want   int              // how many addresses are kept at once, each on another relay; 0: none
	Peers  []netip.AddrPort // whom the relays are to let in; sorted
	Moves  int              // grows with every change of addresses, routes or links
}

// RelayStatus is what the device knows of a relay that it uses, or tries to.
type RelayStatus struct {
	Relay     string // its name
	Transport string // "udp", "tcp", "tls" or "tls by proxy"; of the last try
	Server    netip.AddrPort
	Relayed   netip.AddrPort // the address at which peers reach this node; zero: none
	Former    netip.AddrPort // one that Relayed replaces, and that peers may still use; zero: none
	Permitted bool           // the relay lets in all peers that it can, so that Relayed may be announced
	RTT       time.Duration  // to the relay; 0: not known
	Refused   []netip.Addr   // peers that the relay does not relay to; sorted
	Error     string         // why there is no address; empty: it is asked for, or there is one

	Sent, Received, Dropped uint64 // bytes to peers, bytes from peers, packets
}

// RelayService is what a node that relays for others has to know.
type RelayService struct {
	Public  []netip.Addr // where this node is reached from outside; one of each family is used
	Members []RelayMember
}

// RelayMember is a node that may use this node's relay.
type RelayMember struct {
	NodeID string
	Name   string
	Key    Key
}

// RelayUsage is what a member has used of this node's relay since the process runs.
type RelayUsage struct {
	Member         string           `json:"member"`
	Relayed        []netip.AddrPort `json:"relayed"` // its relayed addresses now, sorted
	SentBytes      uint64           `json:"sentBytes"`
	ReceivedBytes  uint64           `json:"receivedBytes"`
	Packets        uint64           `json:"packets"`        // both directions
	DroppedPackets uint64           `json:"droppedPackets"` // beyond its bandwidth, or not allowed
	Refused        uint64           `json:"refused"`        // addresses that it asked for
}

// RelayView is a relay that this node uses, or tries to.
type RelayView struct {
	Relay          string         `json:"relay"` // the member that offers it, or the URI of another server
	Server         netip.AddrPort `json:"server,omitzero"`
	Transport      string         `json:"transport,omitempty"`
	Relayed        netip.AddrPort `json:"relayed,omitzero"` // where it takes packets for this node
	RTT            float64        `json:"rttMs,omitempty"`
	SentBytes      uint64         `json:"sentBytes"`
	ReceivedBytes  uint64         `json:"receivedBytes"`
	DroppedPackets uint64         `json:"droppedPackets"`
	Refused        []netip.Addr   `json:"refused,omitempty"` // peers that it does not relay to
	Error          string         `json:"error,omitempty"`   // why there is no address
}

// RelayingView is what this node relays for others.
type RelayingView struct {
	Port    uint16       `json:"port,omitempty"`  // where members ask; 0: this node relays nothing
	Ports   string       `json:"ports,omitempty"` // FIRST-LAST: where the relayed addresses are
	Members []RelayUsage `json:"members"`
}
