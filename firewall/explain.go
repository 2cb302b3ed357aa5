package firewall

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// Path is where a packet goes, by the policy or by what the kernel has.
type Path string

// Paths.
const (
	PathLocal   Path = "local"   // delivered on this node
	PathTunnel  Path = "tunnel"  // into the tunnel
	PathBypass  Path = "bypass"  // past the tunnel, by the main routing table
	PathRefused Path = "refused" // unreachable or dropped
)

// Query describes a packet, the first of its connection.
type Query struct {
	Destination netip.Addr
	Port        uint16   // 0: none
	Protocol    Protocol // empty: not specified
	// Source is set if the packet comes from the mesh. Otherwise this node sends it.
	Source netip.Addr
	Own    []netip.Addr // this node's addresses
	Peers  []Owner      // the allowed IPs of all peers
	// Gone is set if the tunnel's interface does not exist.
	Gone bool
	// Inside is set if the tunnel ends in a TCP/IP stack inside the agent, and the kernel
	// routes nothing.
	Inside bool
}

// Owner is one of the allowed IPs of a peer.
type Owner struct {
	Prefix netip.Prefix
	Peer   string
}

// Explanation is the answer to a [Query].
type Explanation struct {
	Path    Path         `json:"path"`
	Peer    string       `json:"peer,omitempty"`  // that owns the destination
	From    string       `json:"from,omitempty"`  // the peer that sends the packet
	Prefix  netip.Prefix `json:"prefix,omitzero"` // that contains the destination and decided
	Rule    string       `json:"rule,omitempty"`  // the ingress rule that decided
	Reasons []Reason     `json:"reasons"`         // in the order of the packet's path
}

// Reason is one step of a packet's path.
type Reason struct {
	Where string `json:"where"` // a chain, "table 180", "table main", "table local", or "peers"
	Text  string `json:"text"`
}

func (v *Explanation) because(where, format string, args ...any) {
	v.Reasons = append(v.Reasons, Reason{where, fmt.Sprintf(format, args...)})
}

// Explain returns where a packet goes, and why.
func (p Policy) Explain(q Query) Explanation {
	q.Destination = q.Destination.Unmap().WithZone("")
	q.Source = q.Source.Unmap().WithZone("")
	var v Explanation
	if q.Inside && !q.Source.IsValid() {
		p.explainDialled(q, &v)
	} else if q.Source.IsValid() {
		p.explainIncoming(q, &v)
	} else {
		p.explainOutgoing(q, &v)
	}
	return v
}

// explainOutgoing explains a packet that this node sends.
func (p Policy) explainOutgoing(q Query, v *Explanation) {
	if slices.Contains(q.Own, q.Destination) {
		v.Path = PathLocal
		v.because("table local", "%v is an address of this node: table local precedes all rules", q.Destination)
		return
	}
	p.explainRoute(q, v, "outgoing")
	if v.Path == PathBypass && p.ByMark() && p.tracked() {
		v.because("outgoing", "a reply to a connection from the tunnel would return through it")
	}
}

// explainIncoming explains a packet from the tunnel.
func (p Policy) explainIncoming(q Query, v *Explanation) {
	from, ok := owner(q.Peers, q.Source)
	v.From, v.Path = from.Peer, PathRefused
	switch {
	case !ok:
		v.because("peers", "no peer may send from %v: the tunnel drops it", q.Source)
		return
	case q.Gone:
		v.because("peers", "no packet comes in: the interface %s does not exist", p.Interface)
		return
	}
	v.because("peers", "%v is in %v of %s", q.Source, from.Prefix, mesh.QuoteName(from.Peer))
	if !p.explainIngress(q, v) {
		return
	}
	if slices.Contains(q.Own, q.Destination) {
		v.Path = PathLocal
		v.because(either(q.Inside, "netstack", "table local"), "%v is an address of this node", q.Destination)
		return
	}
	if q.Inside {
		v.Path = PathRefused
		v.because("netstack", "%v is not an address of this node, which forwards nothing", q.Destination)
		return
	}
	p.explainRoute(q, v, "prerouting")
	i := slices.IndexFunc(p.Masquerade, func(n netip.Prefix) bool { return n.Contains(q.Destination) })
	if i >= 0 && v.Path == PathBypass && p.masquerades() {
		v.because("masquerading", "%v is in %v: the source becomes an address of this node", q.Destination, p.Masquerade[i])
	}
}

// explainIngress reports whether the ingress rules let the packet in.
func (p Policy) explainIngress(q Query, v *Explanation) bool {
	if !p.Ingress.restricts() {
		return true
	}
	ok, rule := NewMatcher(p.Ingress).Allows(Flow{q.Source, q.Destination, q.Protocol.Number(), q.Port})
	verb := either(ok, "accepts", "drops")
	if v.Rule = rule; rule == "" {
		v.because("ingress", "no rule matches: the default action %s it", verb)
		return ok
	}
	v.because("ingress", "rule %s %s it: %v is %s of its sources", rule, verb, q.Source, either(ok, "one", "not one"))
	return ok
}

// explainRoute explains the route of a packet that leaves this node. Chain is the
// chain that marks packets for the tunnel.
func (p Policy) explainRoute(q Query, v *Explanation, chain string) {
	to, known := owner(q.Peers, q.Destination)
	v.Peer, v.Path = to.Peer, PathTunnel
	set := RoutedSet(q.Destination.Is6())
	i := slices.IndexFunc(p.Routed, func(n netip.Prefix) bool { return n.Contains(q.Destination) })
	table := fmt.Sprintf("table %d", p.RoutingTable)
	switch {
	case p.Subnet.IsValid() && p.Subnet.Contains(q.Destination):
		v.Prefix = p.Subnet
		if p.ByMark() || p.Lacks.Has(FeatureRules6) {
			table = "table main"
		}
		v.because(table, "%v is in the cluster's network %v", q.Destination, p.Subnet)
	case i >= 0:
		v.Prefix = p.Routed[i]
		if p.Lacks.Has(rulesOf(q.Destination.Is6())) {
			table = "table main"
		}
		if !p.ByMark() || table == "table main" {
			v.because(table, "%v is in %v, which is routed by destination", q.Destination, v.Prefix)
			break
		}
		v.because(chain, "%v is in %v of set %s: it gets mark %#x", q.Destination, v.Prefix, set, p.TunnelMark)
	default:
		v.Path = PathBypass
		if p.ByMark() {
			v.because(chain, "%v is in no prefix of set %s", q.Destination, set)
		} else {
			v.because(table, "%v is in no network of the mesh", q.Destination)
		}
		if known {
			v.Prefix = to.Prefix
			v.because("peers", "%s has %v, but it is not routed", mesh.QuoteName(to.Peer), to.Prefix)
		}
		v.because("table main", "it goes by the host's own routes")
		return
	}
	if q.Gone {
		v.Path = PathRefused
		v.because(table, "unreachable: the interface %s does not exist", p.Interface)
		return
	}
	v.because(table, "it goes by %s", p.Interface)
	if known {
		v.because("peers", "%s has %v", mesh.QuoteName(to.Peer), to.Prefix)
	} else {
		v.because("peers", "no peer has %v: the tunnel drops it", q.Destination)
	}
}

// owner returns the peer that owns an address, as WireGuard does: by the longest
// prefix.
func owner(peers []Owner, a netip.Addr) (Owner, bool) {
	var best Owner
	for _, o := range peers {
		if o.Prefix.Contains(a) && (!best.Prefix.IsValid() || o.Prefix.Bits() > best.Prefix.Bits()) {
			best = o
		}
	}
	return best, best.Prefix.IsValid()
}
