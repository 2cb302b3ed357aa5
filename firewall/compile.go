package firewall

import (
	"net/netip"
	"sort"
)

// Room for headers in a TCP segment through the tunnel, as in Talos: IP, TCP
// and its timestamps.
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

// Compile says what has to be in the kernel for p, which p.Check accepts.
func Compile(p Policy) Ruleset {
	c := compiler{&p}
	routed4, routed6 := families(p.Routed)
	rs := Ruleset{
		Table:  p.Table,
		Sets:   []Set{{RoutedSet(false), false, routed4}, {RoutedSet(true), true, routed6}},
		Rules:  c.routingRules(),
		Routes: c.routes(routed4, routed6),
	}
	if p.Subnet.IsValid() {
		rs.Chains = append(rs.Chains, c.preraw())
	}
	rs.Chains = append(rs.Chains, c.prerouting(), c.outgoing())
	if p.Ingress.restricts() {
		sets, rules := ingressRules(&p.Ingress)
		jump := []Rule{{c.fromTunnel(), Jump{"ingress"}}}
		rs.Sets = append(rs.Sets, sets...)
		rs.Chains = append(rs.Chains,
			Chain{Name: "input", Type: TypeFilter, Hook: HookInput, Priority: PriorityFilter, Rules: jump},
			Chain{Name: "forward", Type: TypeFilter, Hook: HookForward, Priority: PriorityFilter, Rules: jump},
			Chain{Name: "ingress", Rules: rules})
	}
	rs.Chains = append(rs.Chains, c.guard())
	if len(p.Masquerade) > 0 {
		masquerade4, masquerade6 := families(p.Masquerade)
		rs.Sets = append(rs.Sets, Set{"masquerade4", false, masquerade4}, Set{"masquerade6", true, masquerade6})
		rs.Chains = append(rs.Chains, c.masquerade())
	}
	rs.Chains = append(rs.Chains, c.clamp())
	return rs
}

// RoutedSet is the name of the set of routed networks.
func RoutedSet(v6 bool) string {
	if v6 {
		return "routed6"
	}
	return "routed4"
}

// families divides a sorted list into IPv4 and IPv6.
func families(l []netip.Prefix) (v4, v6 []netip.Prefix) {
	n := sort.Search(len(l), func(i int) bool { return l[i].Addr().Is6() })
	return l[:n:n], l[n:]
}

// compiler makes the chains of a policy.
type compiler struct{ p *Policy }

// tracked reports whether connections from the tunnel are marked as such. Hosts
// in IPv6 networks behind this node need that to reply to mesh addresses, which
// no set of routed networks has.
func (p *Policy) tracked() bool {
	_, forwarded6 := families(p.Forwarded)
	return p.ReturnByTunnel || len(p.Masquerade) > 0 || len(forwarded6) > 0
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

// preraw keeps everybody on a link from using mesh addresses. It sees packets
// before DNAT, so that this node may publish a peer's service on a link. Where
// connections are tracked it runs after that, and hosts behind this node may
// reply to mesh addresses.
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

// prerouting marks what is forwarded into the tunnel. For what is delivered
// here the mark means nothing: table local comes first.
func (c compiler) prerouting() Chain {
	ch := Chain{Name: "prerouting", Type: TypeFilter, Hook: HookPrerouting, Priority: PriorityFilter, Rules: []Rule{
		{c.encrypted(), accept},
		{c.fromTunnel(), Jump{"clamp"}},
	}}
	if c.p.tracked() {
		ch.Rules = append(ch.Rules,
			Rule{c.fromTunnel(), Direction{}, SetMark{CT: true, Mask: c.p.Mask, Value: c.p.TunnelMark}},
			Rule{c.notFromTunnel(), Direction{Reply: true}, c.connectionMarked(), c.markForTunnel(), accept})
	}
	if c.p.ReturnByTunnel { // a peer that goes past the tunnel from now on gets replies there
		ch.Rules = append(ch.Rules, Rule{c.notFromTunnel(), Direction{}, c.connectionMarked(), SetMark{CT: true, Mask: c.p.Mask}})
	}
	ch.Rules = append(ch.Rules, c.markRouted()...)
	return ch
}

// outgoing marks what local processes send into the tunnel. Its type makes the
// kernel look up the route again.
func (c compiler) outgoing() Chain {
	ch := Chain{Name: "outgoing", Type: TypeRoute, Hook: HookOutput, Priority: PriorityFilter, Rules: []Rule{
		{c.encrypted(), accept},
		{Interface{Out: true, Name: "lo"}, accept},
		// To a peer on the same link: without this, the link loses neighbours.
		{NeighbourDiscovery{}, accept},
	}}
	if c.p.tracked() {
		ch.Rules = append(ch.Rules, Rule{Direction{Reply: true}, c.connectionMarked(), c.markForTunnel(), accept})
	}
	ch.Rules = append(ch.Rules, c.markRouted()...)
	return ch
}

func (c compiler) markRouted() []Rule {
	return []Rule{
		{InSet{Set: RoutedSet(false)}, c.markForTunnel(), accept},
		{InSet{Set: RoutedSet(true), IPv6: true}, c.markForTunnel(), accept},
	}
}

// guard is the kill switch: what belongs into the tunnel leaves by it or not at
// all, whatever routes others made.
func (c compiler) guard() Chain {
	ch := Chain{Name: "guard", Type: TypeFilter, Hook: HookPostrouting, Priority: PriorityFilter, Rules: []Rule{
		{c.encrypted(), accept},
		{c.intoTunnel(), Jump{"clamp"}},
		{c.intoTunnel(), accept},
		{Interface{Out: true, Name: "lo"}, accept},
		{NeighbourDiscovery{}, accept},
		// No mesh owns multicast, and the kernel's own reports of groups (IGMP, MLD)
		// come with a mark that is what a field in the same place held: see
		// reserved_tailroom in struct sk_buff.
		{Address{Prefix: multicast4}, accept},
		{Address{Prefix: multicast6}, accept},
	}}
	if c.p.Subnet.IsValid() {
		ch.Rules = append(ch.Rules, Rule{Address{Prefix: c.p.Subnet}, Counter{}, drop})
	}
	ch.Rules = append(ch.Rules,
		Rule{MarkIs{Mask: c.p.Mask, Value: c.p.TunnelMark}, Counter{}, drop},
		Rule{InSet{Set: RoutedSet(false)}, Counter{}, drop},
		Rule{InSet{Set: RoutedSet(true), IPv6: true}, Counter{}, drop})
	return ch
}

// masquerade hides the mesh from networks behind this node.
func (c compiler) masquerade() Chain {
	return Chain{Name: "masquerading", Type: TypeNAT, Hook: HookPostrouting, Priority: PrioritySrcNAT, Rules: []Rule{
		{c.connectionMarked(), c.notIntoTunnel(), InSet{Set: "masquerade4"}, Masquerade{}},
		{c.connectionMarked(), c.notIntoTunnel(), InSet{Set: "masquerade6", IPv6: true}, Masquerade{}},
	}}
}

// clamp makes TCP segments fit through the tunnel. It sees all SYNs that go into
// the tunnel, also replies to addresses that are not routed, and all that come
// out of it, also for this node.
func (c compiler) clamp() Chain {
	return Chain{Name: "clamp", Rules: []Rule{
		{Family{}, ClampMSS{uint16(c.p.MTU - overhead4)}},
		{Family{IPv6: true}, ClampMSS{uint16(c.p.MTU - overhead6)}},
	}}
}
