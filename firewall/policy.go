package firewall

import "net/netip"

// Numbers are the marks, tables and priorities that routing uses in the kernel. By
// default they are KubeSpan's. They must differ from those of other programs on the
// host.
type Numbers struct {
	Table         string // nftables table, family inet
	EncryptedMark uint32 // on encrypted packets and control traffic: never into the tunnel
	TunnelMark    uint32 // on packets that belong into the tunnel
	Mask          uint32 // the bits that both marks use
	RoutingTable  int
	RulePriority  int
}

// Policy is everything that routing and filtering depend on.
// Prefixes are masked; lists of them are sorted (IPv4 first) and disjoint.
type Policy struct {
	Numbers
	Interface string // of the tunnel
	MTU       int    // of the tunnel, bytes
	// ListenPort is the UDP port of this node's encrypted packets, by which they are
	// recognised if their mark is lost; 0: not known.
	ListenPort uint16
	Subnet     netip.Prefix // the cluster's /64
	// Routed lists the networks whose packets belong into the tunnel and must never
	// leave in the clear.
	Routed []netip.Prefix
	// ReturnByTunnel sends replies to connections from the tunnel back through it,
	// even if their destination is not routed. It needs connection tracking.
	ReturnByTunnel bool
	// Forwarded lists the networks behind this node, for which the kernel must
	// forward. Hosts in IPv6 networks may reply to mesh addresses, which needs
	// connection tracking.
	Forwarded []netip.Prefix
	// Masquerade lists the networks behind this node that see this node's address
	// instead of the mesh's. It needs connection tracking.
	Masquerade []netip.Prefix
	// NoDefault4 and NoDefault6 say that packets without a mark find no default route
	// of that family. In that case connect(2) fails for routed destinations before any chain
	// sees a packet, and rp_filter drops packets from them. They then get routes that
	// are found without a mark.
	NoDefault4, NoDefault6 bool
	Ingress                Ingress
	// Lacks lists what the kernel lacks. The ruleset does without.
	Lacks Lacks
}

// Action is the default for traffic from the mesh that no rule names.
type Action string

// Actions, in Talos' words.
const (
	ActionAccept Action = "accept"
	ActionBlock  Action = "block"
)

// Protocol is a transport protocol that rules can name, in Talos' words.
type Protocol string

// Protocols.
const (
	ProtocolTCP    Protocol = "tcp"
	ProtocolUDP    Protocol = "udp"
	ProtocolICMP   Protocol = "icmp"
	ProtocolICMPv6 Protocol = "icmpv6"
)

// PortRange is a range of ports, both ends included.
type PortRange struct{ From, To uint16 }

// Ingress says which new connections from the mesh are accepted, to this node and
// to networks behind it. Replies, and ICMP errors that belong to a connection, are
// always accepted. The zero value accepts everything.
//
// As in Talos, the meaning of rules depends on the default. With ActionBlock, a
// rule accepts connections from its sources to its ports; all others are refused.
// With ActionAccept, a rule refuses connections to its ports from all but its
// sources; all others are accepted.
//
// Queries to the DNS server of this node are accepted whatever the rules are.
type Ingress struct {
	Default Action // empty: accept
	Rules   []IngressRule
	DNS     netip.Addr // of the server: its TCP and UDP ports 53 are open; zero: there is none
}

// IngressRule is a rule whose sources are resolved to prefixes.
type IngressRule struct {
	Name     string
	Protocol Protocol
	Ports    []PortRange    // for TCP and UDP; none: all
	Sources  []netip.Prefix // masked, sorted, disjoint
}
