package firewall

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// String returns the canonical text of the ruleset. nft -f accepts it, and nft list
// table prints the table the same way except for counts. Rules and routes are
// comments, which hold the ip(8) commands that add them.
func (rs Ruleset) String() string {
	var b strings.Builder
	b.WriteString("table inet " + rs.Table + " {\n")
	for _, s := range rs.Sets {
		s.writeTo(&b)
		b.WriteByte('\n')
	}
	for i, c := range rs.Chains {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(c.String())
	}
	b.WriteString("}\n")
	for _, r := range rs.Rules {
		b.WriteString("# " + r.String() + "\n")
	}
	for _, r := range rs.Routes {
		b.WriteString("# " + r.String() + "\n")
	}
	return b.String()
}

// String returns the set as nft prints it.
func (s Set) String() string {
	var b strings.Builder
	s.writeTo(&b)
	return b.String()
}

func (s Set) writeTo(b *strings.Builder) {
	kind, perLine := "ipv4_addr", 2
	if s.IPv6 {
		kind, perLine = "ipv6_addr", 1
	}
	b.WriteString("\tset " + s.Name + " {\n\t\ttype " + kind + "\n\t\tflags interval\n")
	for i, p := range s.Elements {
		switch {
		case i == 0:
			b.WriteString("\t\telements = { ")
		case i%perLine == 0:
			b.WriteString(",\n\t\t\t     ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(prefixText(p))
	}
	if len(s.Elements) > 0 {
		b.WriteString(" }\n")
	}
	b.WriteString("\t}\n")
}

// prefixText returns a prefix as nft prints it: a single address without length.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// String returns the chain as nft prints it.
func (c Chain) String() string {
	var b strings.Builder
	b.WriteString("\tchain " + c.Name + " {\n")
	if c.Hook != "" {
		fmt.Fprintf(&b, "\t\ttype %s hook %s priority %s; policy accept;\n", c.Type, c.Hook, priorityText(c.Priority))
	}
	for _, r := range c.Rules {
		b.WriteString("\t\t" + r.String() + "\n")
	}
	b.WriteString("\t}\n")
	return b.String()
}

func priorityText(p int) string {
	switch p {
	case PriorityRaw:
		return "raw"
	case PriorityMangle:
		return "mangle"
	case PriorityFilter:
		return "filter"
	case PrioritySrcNAT:
		return "srcnat"
	default:
		return strconv.Itoa(p)
	}
}

// String returns the rule as nft prints it.
func (r Rule) String() string {
	words := make([]string, 0, len(r))
	for i := 0; i < len(r); i++ {
		if p, ok := r[i].(ProtocolIs); ok && i+1 < len(r) { // nft prints both as one match
			switch port := r[i+1].(type) {
			case DestinationPort:
				words = append(words, string(p.Protocol)+" dport "+port.Ports.String())
				i++
				continue
			case SourcePort:
				words = append(words, string(p.Protocol)+" sport "+port.Ports.String())
				i++
				continue
			}
		}
		words = append(words, r[i].String())
	}
	return strings.Join(words, " ")
}

func (e MarkIs) String() string {
	return fmt.Sprintf("%s mark & 0x%08x == 0x%08x", markOf(e.CT), e.Mask, e.Value)
}

func (e SetMark) String() string {
	s := fmt.Sprintf("%[1]s mark set %[1]s mark & 0x%08[2]x", markOf(e.CT), ^e.Mask|e.Value)
	if e.Value != 0 { // nft omits a zero
		s += fmt.Sprintf(" | 0x%08x", e.Value)
	}
	return s
}

func markOf(ct bool) string {
	if ct {
		return "ct"
	}
	return "meta"
}

func (e Direction) String() string {
	if e.Reply {
		return "ct direction reply"
	}
	return "ct direction original"
}

func (e StateIs) String() string {
	if e.Invalid {
		return "ct state invalid"
	}
	return "ct state established,related"
}

func (e Interface) String() string {
	return either(e.Out, "oifname ", "iifname ") + either(e.Not, "!= ", "") + `"` + e.Name + `"`
}

func (e Address) String() string {
	return ip(e.Prefix.Addr().Is6()) + either(e.Source, " saddr ", " daddr ") + prefixText(e.Prefix)
}

func (e InSet) String() string {
	return ip(e.IPv6) + either(e.Source, " saddr ", " daddr ") + either(e.Not, "!= ", "") + "@" + e.Set
}

func (e Family) String() string { return "meta nfproto " + either(e.IPv6, "ipv6", "ipv4") }

func (e ProtocolIs) String() string {
	return "meta l4proto " + either(e.Protocol == ProtocolICMPv6, "ipv6-icmp", string(e.Protocol))
}

func (e DestinationPort) String() string { return "th dport " + e.Ports.String() }

func (e SourcePort) String() string { return "th sport " + e.Ports.String() }

// String returns a match by user that no user fails: it fails without a socket.
func (FromSocket) String() string { return "meta skuid != 4294967295" }

func (NeighbourDiscovery) String() string { return "icmpv6 type 133-137" }

func (e ClampMSS) String() string {
	return fmt.Sprintf("tcp flags syn / syn,rst tcp option maxseg size > %[1]d tcp option maxseg size set %[1]d", e.Size)
}

func (Counter) String() string    { return "counter" }
func (Masquerade) String() string { return "masquerade" }
func (e Jump) String() string     { return "jump " + e.Chain }
func (e Verdict) String() string  { return either(e.Accept, "accept", "drop") }

// String returns the range, or its only port.
func (r PortRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(int(r.From))
	}
	return strconv.Itoa(int(r.From)) + "-" + strconv.Itoa(int(r.To))
}

// String returns the command that adds the rule.
func (r RoutingRule) String() string {
	s := fmt.Sprintf("%s rule add priority %d fwmark %#x/%#x lookup %d", either(r.IPv6, "ip -6", "ip"), r.Priority, r.Mark, r.Mask, r.Table)
	return s + either(r.NotDefault, " suppress_prefixlength 0", "")
}

// String returns the command that adds the route.
func (r Route) String() string {
	s := either(r.Destination.Addr().Is6(), "ip -6", "ip") + " route add "
	s += either(r.Interface == "", "unreachable ", "")
	s += either(r.Destination.Bits() == 0, "default", prefixText(r.Destination))
	s += either(r.Interface == "", "", " dev "+r.Interface)
	s += either(r.Table == RouteMain, "", " table "+strconv.Itoa(r.Table))
	s += " metric " + strconv.Itoa(r.Metric)
	return s + either(r.MTU == 0, "", " mtu "+strconv.Itoa(r.MTU))
}

func ip(v6 bool) string { return either(v6, "ip6", "ip") }

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
