package config

import (
	"errors"
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/wirespan/wirespan/firewall"
)

// ruleReader reads one ingress rule, with the schema and the error texts of Talos.
// A Talos document gets only the checks of Talos. In WirespanConfig, where rules
// apply, a rule may also name peers, and a rule that makes no sense is an error.
type ruleReader struct {
	in     *object
	prefix string // of each problem
	talos  bool   // it is a Talos document
}

func (r *ruleReader) add(at pos, format string, args ...any) {
	r.in.problems.add(at, "%s"+format, append([]any{r.prefix}, args...)...)
}

// read reads the rule, except its name. The caller finishes the object.
func (r *ruleReader) read(name text) IngressRule {
	if name.value == "" {
		r.add(r.in.at, "name is required")
	}
	selector := r.in.object("portSelector")
	if selector == nil {
		selector = newObject(r.in.problems, &yaml.Node{Kind: yaml.MappingNode}, r.in.at, "")
	}
	rule := IngressRule{Name: name.value, Protocol: r.protocol(selector)}
	rule.Ports = r.ports(selector, rule.Protocol)
	selector.finish()
	rule.Subnets = r.subnets()
	if !r.talos {
		rule.Peers = r.peers()
	}
	return rule
}

// protocol returns "" for a missing or unknown protocol.
func (r *ruleReader) protocol(selector *object) firewall.Protocol {
	protocol := selector.text("protocol")
	switch p := firewall.Protocol(protocol.value); p {
	case firewall.ProtocolTCP, firewall.ProtocolUDP, firewall.ProtocolICMP, firewall.ProtocolICMPv6:
		return p
	case "":
		if !r.talos {
			r.add(protocol.at, "portSelector.protocol is required")
		}
	default:
		r.add(protocol.at, "%s does not belong to Protocol values (tcp, udp, icmp, icmpv6)", clip(protocol.value))
	}
	return ""
}

func (r *ruleReader) ports(selector *object, p firewall.Protocol) []firewall.PortRange {
	items := selector.list("ports")
	icmp := p == firewall.ProtocolICMP || p == firewall.ProtocolICMPv6
	switch {
	case len(items) == 0 && (r.talos || p != "" && !icmp):
		r.add(selector.at, "portSelector.ports is required")
	case len(items) > 0 && icmp && !r.talos:
		r.add(selector.at, "portSelector.ports does not apply to %s; remove it", p)
	}
	var ports []firewall.PortRange
	for _, item := range items {
		ports = append(ports, r.portRange(item)...)
	}
	sort.Slice(ports, func(i, j int) bool { return ports[i].From < ports[j].From })
	for i := 1; i < len(ports); i++ {
		if a, b := ports[i-1], ports[i]; b.From <= a.To {
			r.add(selector.at, "invalid port range: %d-%d, overlaps with %d-%d", b.From, b.To, a.From, a.To)
			break
		}
	}
	return ports
}

// portRange reads "22" or "8000-8100". It returns nil if the text is invalid.
func (r *ruleReader) portRange(item text) []firewall.PortRange {
	low, high, isRange := strings.Cut(item.value, "-")
	if !isRange {
		high = low
	}
	from, err1 := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	switch {
	case err1 != nil || err2 != nil:
		r.add(item.at, "invalid port range: %.100q", item.value)
	case from > to:
		r.add(item.at, "invalid port range: %d-%d", from, to)
	case from == 0 && !r.talos:
		r.add(item.at, "invalid port range: %d-%d, ports are 1 to 65535", from, to)
	default:
		return []firewall.PortRange{{From: uint16(from), To: uint16(to)}}
	}
	return nil
}

// subnets reads the sources that are given by address.
func (r *ruleReader) subnets() []firewall.Subnet {
	var subnets []firewall.Subnet
	var prefixes []netip.Prefix
	for _, o := range r.in.objects("ingress", maxListItems) {
		if s := r.subnet(o); s.Prefix.IsValid() {
			subnets = append(subnets, s)
			prefixes = append(prefixes, s.Prefix)
		}
		o.finish()
	}
	// An exception applies to its own subnet here, and to all subnets of the rule in
	// Talos. For disjoint subnets that is the same.
	if err := checkDisjoint(prefixes); err != nil && !r.talos {
		_, at := r.in.take("ingress")
		r.add(at, "invalid subnet: %v", err)
	}
	return subnets
}

// subnet reads one source. Its prefix is invalid if the text is.
func (r *ruleReader) subnet(o *object) (s firewall.Subnet) {
	parse := parseNetwork
	if r.talos {
		parse = parsePrefix
	}
	subnet, except := o.text("subnet"), o.text("except")
	var err error
	if s.Prefix, err = parse(subnet.value); err != nil {
		r.add(subnet.at, "invalid subnet: %v", err)
		return firewall.Subnet{}
	}
	if except.value == "" {
		return s
	}
	s.Except, err = parse(except.value)
	if err == nil && !r.talos && (s.Except == s.Prefix || !contains(s.Prefix, s.Except)) {
		err = fmt.Errorf("%v is not a part of %v", s.Except, s.Prefix)
	}
	if err != nil {
		r.add(except.at, "invalid except: %v", err)
	}
	return s
}

// peers reads the sources that are given by nodename.
func (r *ruleReader) peers() []string {
	var peers []string
	seen := map[string]bool{}
	for _, item := range r.in.list("peers") {
		name, err := parseNodename(item.value)
		if err == nil && seen[name] {
			err = errors.New("duplicate nodename " + name)
		}
		if err != nil {
			r.add(item.at, "invalid peer: %v", err)
			continue
		}
		seen[name] = true
		peers = append(peers, name)
	}
	return peers
}
