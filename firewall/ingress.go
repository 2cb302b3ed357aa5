package firewall

import (
	"net/netip"
	"strconv"
)

// dnsPort and dnsRule are the port of DNS, and the name of the rule that opens it.
const (
	dnsPort = 53
	dnsRule = "dns"
)

// restricts reports whether in refuses anything.
func (in *Ingress) restricts() bool { return in.Default == ActionBlock || len(in.Rules) > 0 }

// addIngress adds the ingress chain, which decides on packets from the tunnel, what
// leads to it, and its sets.
func (c compiler) addIngress(rs *Ruleset) {
	jump := []Rule{{c.fromTunnel(), Jump{"ingress"}}}
	rules := []Rule{{drop}} // refuse everything rather than too little
	if c.p.Enforceable() == nil {
		rules = rs.ingressRules(&c.p.Ingress)
	}
	rs.addChain(Chain{Name: "input", Type: TypeFilter, Hook: HookInput, Priority: PriorityFilter, Rules: jump})
	rs.addChain(Chain{Name: "forward", Type: TypeFilter, Hook: HookForward, Priority: PriorityFilter, Rules: jump})
	rs.addChain(Chain{Name: "ingress", Rules: rules})
}

// ingressRules returns the rules of the ingress chain, and adds their sets. Replies,
// and ICMP errors that belong to a connection, are accepted first: a change of the
// rules does not cut established connections.
func (rs *Ruleset) ingressRules(in *Ingress) []Rule {
	rules := []Rule{{StateIs{}, accept}, {StateIs{Invalid: true}, drop}}
	if in.DNS.IsValid() {
		const set = "ingressdns"
		v6 := in.DNS.Is6()
		rs.addSet(set, v6, []netip.Prefix{netip.PrefixFrom(in.DNS, in.DNS.BitLen())})
		for _, p := range []Protocol{ProtocolUDP, ProtocolTCP} {
			rules = append(rules, Rule{InSet{Set: set, IPv6: v6}, ProtocolIs{p}, DestinationPort{PortRange{dnsPort, dnsPort}}, accept})
		}
	}
	for i := range in.Rules {
		r := &in.Rules[i]
		sources4, sources6 := families(r.Sources)
		for _, v6 := range []bool{false, true} {
			sources := sources4
			if v6 {
				sources = sources6
			}
			if !r.Protocol.of(v6) || in.Default == ActionBlock && len(sources) == 0 {
				continue
			}
			var from Expr = Family{IPv6: v6}
			if len(sources) > 0 {
				name := "ingress" + strconv.Itoa(i) + familyName(v6)
				rs.addSet(name, v6, sources)
				from = InSet{Source: true, Not: in.Default != ActionBlock, Set: name, IPv6: v6}
			}
			rules = append(rules, in.portRules(r, from)...)
		}
	}
	if in.Default == ActionBlock {
		rules = append(rules, Rule{Counter{}, drop})
	}
	return rules
}

// portRules returns the nftables rules of an ingress rule for one family: one per
// port range.
func (in *Ingress) portRules(r *IngressRule, from Expr) []Rule {
	then := []Expr{accept}
	if in.Default != ActionBlock {
		then = []Expr{Counter{}, drop}
	}
	if len(r.Ports) == 0 || !r.Protocol.hasPorts() {
		return []Rule{append(Rule{from, ProtocolIs{r.Protocol}}, then...)}
	}
	var out []Rule
	for _, ports := range r.Ports {
		out = append(out, append(Rule{from, ProtocolIs{r.Protocol}, DestinationPort{ports}}, then...))
	}
	return out
}

func familyName(v6 bool) string {
	if v6 {
		return "v6"
	}
	return "v4"
}

// of reports whether the protocol is used with this IP version.
func (p Protocol) of(v6 bool) bool {
	return p != ProtocolICMP && p != ProtocolICMPv6 || (p == ProtocolICMPv6) == v6
}

func (p Protocol) hasPorts() bool { return p == ProtocolTCP || p == ProtocolUDP }

// Number returns the protocol's number in IP headers; 0 for any other string.
func (p Protocol) Number() uint8 {
	switch p {
	case ProtocolTCP:
		return 6
	case ProtocolUDP:
		return 17
	case ProtocolICMP:
		return 1
	case ProtocolICMPv6:
		return 58
	default:
		return 0
	}
}
