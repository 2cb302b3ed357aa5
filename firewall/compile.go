package firewall

import (
	"net/netip"
	"slices"
	"sort"
)

// Headers of a TCP segment in the tunnel, in bytes, as Talos counts them: IP, TCP
// and the timestamp option.
const (
	overhead4 = 20 + 20 + 12
	overhead6 = 40 + 20 + 12
)

var (
	accept = Verdict{Accept: true}
	drop   = Verdict{}

	multicast4 = netip.MustParsePrefix("224.0.0.0/4")
	multicast6 = netip.MustParsePrefix("ff00::/8")
)

// Compile returns the ruleset that implements p, as far as the kernel can. p.Check
// must have accepted p. Without nftables the ruleset has no sets and no chains.
func Compile(p Policy) Ruleset {
	c := compiler{&p}
	routed4, routed6 := families(p.Routed)
	rs := Ruleset{Table: p.Table, Rules: c.routingRules(), Routes: c.routes(routed4, routed6)}
	if p.Lacks.Has(FeatureNftables) {
		return rs
	}
	rs.addSet(RoutedSet(false), false, routed4)
	rs.addSet(RoutedSet(true), true, routed6)
	c.addChains(&rs)
	if p.Lacks.Has(FeatureCounter) {
		for i := range rs.Chains {
			for j, r := range rs.Chains[i].Rules {
				rs.Chains[i].Rules[j] = slices.DeleteFunc(r, func(e Expr) bool { return e == Counter{} })
			}
		}
	}
	return rs
}

// addChains adds the chains of the policy's table, and the sets that only some
// policies have.
func (c compiler) addChains(rs *Ruleset) {
	p := c.p
	if p.Subnet.IsValid() {
		rs.addChain(c.preraw())
	}
	if p.ByMark() {
		rs.addChain(c.entering())
		rs.addChain(c.prerouting())
		rs.addChain(c.outgoing())
		if p.ListenPort != 0 {
			rs.addChain(c.own())
		}
	} else {
		rs.addChain(c.unmarked())
	}
	if p.Ingress.restricts() {
		c.addIngress(rs)
	}
	rs.addChain(c.guard())
	if p.masquerades() {
		masquerade4, masquerade6 := families(p.Masquerade)
		rs.addSet("masquerade4", false, masquerade4)
		rs.addSet("masquerade6", true, masquerade6)
		rs.addChain(c.masquerade())
	}
	if !p.Lacks.Has(FeatureTCPOption) {
		rs.addChain(c.clamp())
	}
}

func (rs *Ruleset) addChain(c Chain) { rs.Chains = append(rs.Chains, c) }

func (rs *Ruleset) addSet(name string, v6 bool, elements []netip.Prefix) {
	rs.Sets = append(rs.Sets, Set{name, v6, elements})
}

// RoutedSet returns the name of the set of routed networks of an IP version.
func RoutedSet(v6 bool) string {
	if v6 {
		return "routed6"
	}
	return "routed4"
}

// families splits a sorted list into IPv4 and IPv6.
func families(l []netip.Prefix) (v4, v6 []netip.Prefix) {
	n := sort.Search(len(l), func(i int) bool { return l[i].Addr().Is6() })
	return l[:n:n], l[n:]
}

// compiler builds the chains, rules and routes of a policy.
type compiler struct{ p *Policy }

// tracked reports whether connections from the tunnel get a connection mark. Hosts
// in IPv6 networks behind this node need it to reply to mesh addresses, because no
// set of routed networks contains these.
func (p *Policy) tracked() bool {
	if p.Lacks.Has(FeatureConntrack) || p.Lacks.Has(FeatureConnmark) {
		return false
	}
	_, forwarded6 := families(p.Forwarded)
	return p.ReturnByTunnel && p.ByMark() || len(p.Masquerade) > 0 || len(forwarded6) > 0
}

// masquerades reports whether packets to some networks get an address of this node.
func (p *Policy) masquerades() bool {
	return len(p.Masquerade) > 0 && p.tracked() && !p.Lacks.Has(FeatureMasquerade)
}

func (c compiler) encrypted() Expr     { return MarkIs{Mask: c.p.Mask, Value: c.p.EncryptedMark} }
func (c compiler) markForTunnel() Expr { return SetMark{Mask: c.p.Mask, Value: c.p.TunnelMark} }
func (c compiler) connectionMarked() Expr {
	return MarkIs{CT: true, Mask: c.p.Mask, Value: c.p.TunnelMark}
}
func (c compiler) fromTunnel() Expr    { return Interface{Name: c.p.Interface} }
func (c compiler) notFromTunnel() Expr { return Interface{Not: true, Name: c.p.Interface} }
func (c compiler) intoTunnel() Expr    { return Interface{Out: true, Name: c.p.Interface} }
func (c compiler) notIntoTunnel() Expr { return Interface{Out: true, Not: true, Name: c.p.Interface} }

// preraw drops packets from a link that use mesh addresses. It runs before DNAT,
// so that this node may publish a peer's service on a link. If connections are
// tracked, it runs after connection tracking, and hosts behind this node may reply
// to mesh addresses.
func (c compiler) preraw() Chain {
	ch := Chain{Name: "preraw", Type: TypeFilter, Hook: HookPrerouting, Priority: PriorityRaw, Rules: []Rule{
		{c.fromTunnel(), accept},
		{Interface{Name: "lo"}, accept},
		{Address{Source: true, Prefix: c.p.Subnet}, Counter{}, drop},
	}}
	if c.p.tracked() {
		ch.Priority = PriorityMangle
		ch.Rules = append(ch.Rules, Rule{Direction{Reply: true}, c.connectionMarked(), accept})
	}
	ch.Rules = append(ch.Rules, Rule{Address{Prefix: c.p.Subnet}, Counter{}, drop})
	return ch
}

// entering marks packets from the tunnel while other programs check whether the way
// back to their source leads by the same interface. For most sources that is so only
// in the tunnel's table.
func (c compiler) entering() Chain {
	return Chain{Name: "entering", Type: TypeFilter, Hook: HookPrerouting, Priority: PriorityEarly, Rules: []Rule{
		{c.fromTunnel(), c.markForTunnel()},
	}}
}

// prerouting marks packets that are to be forwarded into the tunnel, and no others. On
// packets for this node the mark has no effect, because table local precedes all rules.
// It runs behind other programs' checks of the way back to a packet's source: with the
// mark they would look for that in the tunnel.
func (c compiler) prerouting() Chain {
	ch := Chain{Name: "prerouting", Type: TypeFilter, Hook: HookPrerouting, Priority: PriorityLate, Rules: []Rule{
		{c.encrypted(), accept},
	}}
	ch.Rules = append(ch.Rules, c.jumpToClamp(c.fromTunnel())...)
	if c.p.tracked() {
		ch.Rules = append(ch.Rules,
			c.markConnection(),
			Rule{c.notFromTunnel(), Direction{Reply: true}, c.connectionMarked(), c.markForTunnel(), accept})
	}
	if c.p.ReturnByTunnel && c.p.tracked() { // if a peer starts to bypass the tunnel, replies to it do, too
		ch.Rules = append(ch.Rules, Rule{c.notFromTunnel(), Direction{}, c.connectionMarked(), SetMark{CT: true, Mask: c.p.Mask}})
	}
	ch.Rules = append(ch.Rules, c.markRouted()...)
	ch.Rules = append(ch.Rules, Rule{c.fromTunnel(), SetMark{Mask: c.p.Mask}}) // that of entering
	return ch
}

// unmarked takes the place of entering and prerouting where packets are led into the
// tunnel by destination.
func (c compiler) unmarked() Chain {
	ch := Chain{Name: "prerouting", Type: TypeFilter, Hook: HookPrerouting, Priority: PriorityLate, Rules: c.jumpToClamp(c.fromTunnel())}
	if c.p.tracked() {
		ch.Rules = append(ch.Rules, c.markConnection())
	}
	return ch
}

// markConnection marks connections that come from the tunnel.
func (c compiler) markConnection() Rule {
	return Rule{c.fromTunnel(), Direction{}, SetMark{CT: true, Mask: c.p.Mask, Value: c.p.TunnelMark}}
}

// jumpToClamp leads packets that an expression matches through chain clamp.
func (c compiler) jumpToClamp(which Expr) []Rule {
	if c.p.Lacks.Has(FeatureTCPOption) {
		return nil
	}
	return []Rule{{which, Jump{"clamp"}}}
}

// outgoing marks packets that local processes send into the tunnel. A chain of type
// route makes the kernel look up the route again.
func (c compiler) outgoing() Chain {
	ch := Chain{Name: "outgoing", Type: TypeRoute, Hook: HookOutput, Priority: PriorityFilter, Rules: []Rule{
		{c.encrypted(), accept},
		{Interface{Out: true, Name: "lo"}, accept},
		// A peer may be a neighbour on a link, which must still be able to resolve it.
		{NeighbourDiscovery{}, accept},
	}}
	if c.p.tracked() {
		ch.Rules = append(ch.Rules, Rule{Direction{Reply: true}, c.connectionMarked(), c.markForTunnel(), accept})
	}
	ch.Rules = append(ch.Rules, c.markRouted()...)
	return ch
}

// Chains in which a rule counts own encrypted packets that have lost their mark.
const (
	ChainOwn   = "own"
	ChainGuard = "guard"
)

// own gives encrypted packets the mark back that another program has changed. Like
// any chain of type route, it makes the kernel look up the route again.
func (c compiler) own() Chain {
	return Chain{Name: ChainOwn, Type: TypeRoute, Hook: HookOutput, Priority: PriorityLate, Rules: []Rule{
		{c.encrypted(), accept},
		append(c.fromOwnSocket(), Counter{}, SetMark{Mask: c.p.Mask, Value: c.p.EncryptedMark}, accept),
	}}
}

// fromOwnSocket matches encrypted packets whatever their mark: no other socket of
// this network namespace can have the port.
func (c compiler) fromOwnSocket() Rule {
	port := PortRange{c.p.ListenPort, c.p.ListenPort}
	return Rule{ProtocolIs{ProtocolUDP}, SourcePort{port}, FromSocket{}}
}

func (c compiler) markRouted() []Rule {
	return []Rule{
		{InSet{Set: RoutedSet(false)}, c.markForTunnel(), accept},
		{InSet{Set: RoutedSet(true), IPv6: true}, c.markForTunnel(), accept},
	}
}

// guard is the kill switch: packets that belong into the tunnel leave through it
// or not at all, whatever other routes the host has.
func (c compiler) guard() Chain {
	ch := Chain{Name: ChainGuard, Type: TypeFilter, Hook: HookPostrouting, Priority: PriorityFilter, Rules: []Rule{
		{c.encrypted(), accept},
	}}
	ch.Rules = append(ch.Rules, c.jumpToClamp(c.intoTunnel())...)
	ch.Rules = append(ch.Rules,
		Rule{c.intoTunnel(), accept},
		Rule{Interface{Out: true, Name: "lo"}, accept},
		Rule{NeighbourDiscovery{}, accept},
		// Multicast is never routed into the mesh. The kernel's own IGMP and MLD reports
		// may carry any mark, because the field shares its memory with
		// reserved_tailroom (struct sk_buff).
		Rule{Address{Prefix: multicast4}, accept},
		Rule{Address{Prefix: multicast6}, accept})
	if c.p.ListenPort != 0 { // the mark was changed after chain own
		ch.Rules = append(ch.Rules, append(c.fromOwnSocket(), Counter{}, accept))
	}
	if c.p.Subnet.IsValid() {
		ch.Rules = append(ch.Rules, Rule{Address{Prefix: c.p.Subnet}, Counter{}, drop})
	}
	ch.Rules = append(ch.Rules,
		Rule{MarkIs{Mask: c.p.Mask, Value: c.p.TunnelMark}, Counter{}, drop},
		Rule{InSet{Set: RoutedSet(false)}, Counter{}, drop},
		Rule{InSet{Set: RoutedSet(true), IPv6: true}, Counter{}, drop})
	return ch
}

// masquerade replaces the source of packets from the mesh to some networks behind
// this node by an address of this node.
func (c compiler) masquerade() Chain {
	return Chain{Name: "masquerading", Type: TypeNAT, Hook: HookPostrouting, Priority: PrioritySrcNAT, Rules: []Rule{
		{c.connectionMarked(), c.notIntoTunnel(), InSet{Set: "masquerade4"}, Masquerade{}},
		{c.connectionMarked(), c.notIntoTunnel(), InSet{Set: "masquerade6", IPv6: true}, Masquerade{}},
	}}
}

// clamp limits the MSS of TCP connections to what fits into the tunnel. It sees all
// SYNs that go into the tunnel, including replies to addresses that are not routed,
// and all that come out of it, including those for this node.
func (c compiler) clamp() Chain {
	return Chain{Name: "clamp", Rules: []Rule{
		{Family{}, ClampMSS{uint16(c.p.MTU - overhead4)}},
		{Family{IPv6: true}, ClampMSS{uint16(c.p.MTU - overhead6)}},
	}}
}
