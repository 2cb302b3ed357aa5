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

// ingressRules returns the rules of the ingress chain, which decides on packets
// from the tunnel, and their sets. Replies, and ICMP errors that belong to a
// connection, are accepted first: a change of the rules does not cut established
// connections.
func ingressRules(in *Ingress) ([]Set, []Rule) {
	var sets []Set
	rules := []Rule{{StateIs{}, accept}, {StateIs{Invalid: true}, drop}}
	if in.DNS.IsValid() {
		set := Set{"ingressdns", in.DNS.Is6(), []netip.Prefix{netip.PrefixFrom(in.DNS, in.DNS.BitLen())}}
		sets = append(sets, set)
		for _, p := range []Protocol{ProtocolUDP, ProtocolTCP} {
			rules = append(rules, Rule{InSet{Set: set.Name, IPv6: set.IPv6}, ProtocolIs{p}, DestinationPort{PortRange{dnsPort, dnsPort}}, accept})
		}
	}
	for i := range in.Rules {
		r := &in.Rules[i]
		v4, v6 := families(r.Sources)
		for _, f := range []struct {
			v6      bool
			sources []netip.Prefix
		}{{false, v4}, {true, v6}} {
			if !r.Protocol.of(f.v6) || in.Default == ActionBlock && len(f.sources) == 0 {
				continue
			}
			var from Expr = Family{IPv6: f.v6}
			if len(f.sources) > 0 {
				name := "ingress" + strconv.Itoa(i) + familyName(f.v6)
				sets = append(sets, Set{name, f.v6, f.sources})
				from = InSet{Source: true, Not: in.Default != ActionBlock, Set: name, IPv6: f.v6}
			}
			rules = append(rules, in.portRules(r, from)...)
		}
	}
	if in.Default == ActionBlock {
		rules = append(rules, Rule{Counter{}, drop})
	}
	return sets, rules
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
