package firewall

import "net/netip"

// Ruleset is everything that the kernel should have: one nftables table of family
// inet, policy-routing rules, and routes. Equal policies give equal rulesets.
type Ruleset struct {
	Table  string // name of the nftables table
	Sets   []Set
	Chains []Chain
	Rules  []RoutingRule
	Routes []Route
}

// Set is a named interval set. Its elements are masked, sorted, and disjoint.
type Set struct {
	Name     string
	IPv6     bool
	Elements []netip.Prefix
}

// Hook is the place of a base chain in the kernel's packet path.
type Hook string

// Hooks of family inet.
const (
	HookPrerouting  Hook = "prerouting"
	HookInput       Hook = "input"
	HookForward     Hook = "forward"
	HookOutput      Hook = "output"
	HookPostrouting Hook = "postrouting"
)

// ChainType is the type of a base chain.
type ChainType string

// Types of base chains. After a chain of type route changed the mark, the kernel
// looks up the route again.
const (
	TypeFilter ChainType = "filter"
	TypeRoute  ChainType = "route"
	TypeNAT    ChainType = "nat"
)

// Priorities of base chains (netfilter_ipv4.h).
const (
	PriorityEarly  = -350 // after defragmentation, before raw
	PriorityRaw    = -300
	PriorityMangle = -150 // after connection tracking, before DNAT
	PriorityFilter = 0
	PrioritySrcNAT = 100
	PriorityLate   = 1000 // after what other programs usually do
)

// Chain is a list of rules, tried in order. A base chain has a hook, and policy
// accept. Any other chain is reached by jumps only.
type Chain struct {
	Name     string
	Hook     Hook // empty: not a base chain
	Type     ChainType
	Priority int
	Rules    []Rule
}

// Rule is a list of expressions: matches, followed by statements.
type Rule []Expr

// Expr is one match or statement, as nft(8) writes it.
type Expr interface{ String() string }

// Expressions. Not every value is meaningful; Compile returns only those that are.
type (
	// MarkIs matches packets by the bits of their mark (CT: of their connection mark)
	// that Mask covers.
	MarkIs struct {
		CT          bool
		Mask, Value uint32
	}
	// SetMark sets the bits of the packet's mark (CT: of its connection mark) that
	// Mask covers to Value, and keeps the others.
	SetMark struct {
		CT          bool
		Mask, Value uint32
	}
	// Direction matches packets of one direction of their connection.
	Direction struct{ Reply bool }
	// StateIs matches packets of established connections, and those related to one,
	// such as ICMP errors (Invalid: packets that belong to no connection).
	StateIs struct{ Invalid bool }
	// Interface matches by the name of the interface by which the packet comes in
	// (Out: goes out). The interface need not exist.
	Interface struct {
		Out, Not bool
		Name     string
	}
	// Address matches by destination (Source: by source) address.
	Address struct {
		Source bool
		Prefix netip.Prefix
	}
	// InSet matches by destination (Source: by source) address in a named set.
	InSet struct {
		Source, Not bool
		Set         string
		IPv6        bool
	}
	// Family matches packets of one IP version.
	Family struct{ IPv6 bool }
	// ProtocolIs matches by transport protocol.
	ProtocolIs struct{ Protocol Protocol }
	// DestinationPort matches TCP or UDP packets by destination port. It follows a
	// ProtocolIs.
	DestinationPort struct{ Ports PortRange }
	// SourcePort matches TCP or UDP packets by source port. It follows a ProtocolIs.
	SourcePort struct{ Ports PortRange }
	// FromSocket matches packets that a socket of this network namespace sends, as
	// opposed to forwarded ones.
	FromSocket struct{}
	// NeighbourDiscovery matches the ICMPv6 types 133 to 137 (RFC 4861).
	NeighbourDiscovery struct{}
	// ClampMSS sets the MSS option of TCP segments with SYN and without RST to Size
	// bytes if it is larger.
	ClampMSS struct{ Size uint16 }
	// Counter counts the packets that reach it.
	Counter struct{}
	// Masquerade replaces the source of the packet's connection by an address of the
	// outgoing interface.
	Masquerade struct{}
	// Jump continues in another chain, and returns after it.
	Jump struct{ Chain string }
	// Verdict ends the evaluation.
	Verdict struct{ Accept bool } // false: drop
)

// RoutingRule is a policy-routing rule: packets whose mark has Mark in the bits
// of Mask are looked up in Table.
type RoutingRule struct {
	IPv6       bool
	Priority   int
	Mark, Mask uint32
	Table      int
	// NotDefault ignores the default routes of the table (suppress_prefixlength 0).
	NotDefault bool
}

// RouteMain is the number of the main routing table.
const RouteMain = 254

// Route is an entry of a routing table. A route without Interface is unreachable:
// it outlives the interface, and refuses packets that would otherwise go elsewhere.
type Route struct {
	Destination netip.Prefix // never invalid; a default route is 0.0.0.0/0 or ::/0
	Table       int
	Interface   string // empty: unreachable
	Metric      int
	MTU         int // 0: that of the interface
}
