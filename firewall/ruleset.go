package firewall

import "net/netip"

// Ruleset is everything that should be in the kernel: one nftables table of
// family inet, policy-routing rules, and routes. Equal policies give equal
// rulesets; String is its canonical text.
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

// Hook is where in the kernel's packet path a base chain stands.
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

// Types of base chains. A route chain looks the route up again if it changes
// the mark.
const (
	TypeFilter ChainType = "filter"
	TypeRoute  ChainType = "route"
	TypeNAT    ChainType = "nat"
)

// Priorities of base chains (netfilter_ipv4.h).
const (
	PriorityRaw    = -300
	PriorityMangle = -150 // behind connection tracking, before DNAT
	PriorityFilter = 0
	PrioritySrcNAT = 100
)

// Chain is a list of rules, tried in order. A base chain has a Hook, and policy
// accept; another one is only jumped to.
type Chain struct {
	Name     string
	Hook     Hook // empty: no base chain
	Type     ChainType
	Priority int
	Rules    []Rule
}

// Rule is a list of expressions: matches, then statements.
type Rule []Expr

// Expr is one match or statement, as nft(8) writes it.
type Expr interface{ String() string }

// Expressions. The zero value of each matches or does something, too; Compile
// makes only meaningful ones.
type (
	// MarkIs matches packets by the bits of their mark (CT: of their connection's).
	MarkIs struct {
		CT          bool
		Mask, Value uint32
	}
	// SetMark sets the bits of the packet's mark (CT: of its connection's) that
	// Mask covers to Value; the others stay.
	SetMark struct {
		CT          bool
		Mask, Value uint32
	}
	// Direction matches by the direction of the packet within its connection.
	Direction struct{ Reply bool }
	// StateIs matches packets whose connection is established or related to one
	// that is: replies, and ICMP errors (Invalid: those that belong to none).
	StateIs struct{ Invalid bool }
	// Interface matches by the name of the interface that the packet came in by
	// (Out: goes out by). The interface need not exist.
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
	// DestinationPort matches TCP or UDP packets by destination port; it comes
	// after a ProtocolIs.
	DestinationPort struct{ Ports PortRange }
	// NeighbourDiscovery matches the ICMPv6 types 133 to 137 (RFC 4861).
	NeighbourDiscovery struct{}
	// ClampMSS matches TCP segments with SYN and without RST whose MSS option is
	// larger than Size, and sets it to Size, in bytes.
	ClampMSS struct{ Size uint16 }
	// Counter counts.
	Counter struct{}
	// Masquerade gives the packet's connection the source address of the
	// outgoing interface.
	Masquerade struct{}
	// Jump goes on in another chain.
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
	// NotDefault ignores the table's default routes (suppress_prefixlength 0).
	NotDefault bool
}

// RouteMain is the number of the main routing table.
const RouteMain = 254

// Route is an entry of a routing table. One without Interface is unreachable:
// it outlives the interface, and refuses what would otherwise go elsewhere.
type Route struct {
	Destination netip.Prefix // never invalid; a default route is 0.0.0.0/0 or ::/0
	Table       int
	Interface   string // empty: unreachable
	Metric      int
	MTU         int // 0: the interface's
}
