package firewall

import "net/netip"

// Numbers are the marks and places in the kernel that routing uses. They are
// KubeSpan's unless the user chose others, and must differ from those of other
// programs on the box.
type Numbers struct {
	Table         string // nftables table, family inet
	EncryptedMark uint32 // on encrypted packets and control traffic: never into the tunnel
	TunnelMark    uint32 // on packets that belong into the tunnel
	Mask          uint32 // the bits that both marks use
	RoutingTable  int
	RulePriority  int
}

// Policy is everything that routing and filtering depend on, at one moment.
// Prefixes are masked; lists of them are sorted (IPv4 first) and disjoint.
type Policy struct {
	Numbers
	Interface string       // of the tunnel
	MTU       int          // of the tunnel, bytes
	Subnet    netip.Prefix // the cluster's /64
	// Routed is what belongs into the tunnel and may never leave in the clear.
	Routed []netip.Prefix
	// ReturnByTunnel sends replies to what came by the tunnel back that way even
	// if their destination is not routed. It needs connection tracking.
	ReturnByTunnel bool
	// Forwarded lists networks behind this node, for which the kernel must forward.
	// Hosts in those of IPv6 may reply to mesh addresses: that implies connection
	// tracking.
	Forwarded []netip.Prefix
	// Masquerade lists networks behind this node that see its own address
	// instead of the mesh's; it implies connection tracking.
	Masquerade []netip.Prefix
	// NoDefault4 and NoDefault6 say that the main table has no default route of
	// that family. Then connect refuses routed destinations before anything here
	// sees them, and rp_filter drops what comes from them: they need routes that
	// are found without a mark.
	NoDefault4, NoDefault6 bool
	Ingress                Ingress
}

// Action is what happens to traffic from the mesh that no rule names.
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

// Ingress says which new connections from the mesh may come in, to this node
// and to networks behind it. Replies and ICMP errors that belong to a known
// connection always may. The zero value accepts everything.
//
// As in Talos: with ActionBlock a rule accepts what its sources send to its
// ports, and nothing else comes in. With ActionAccept a rule refuses what others
// than its sources send to its ports, and everything else comes in.
type Ingress struct {
	Default Action // empty: accept
	Rules   []IngressRule
}

// IngressRule is one rule with its sources resolved to prefixes.
type IngressRule struct {
	Name     string
	Protocol Protocol
	Ports    []PortRange    // of TCP and UDP; none: all
	Sources  []netip.Prefix // masked, sorted, disjoint
}
