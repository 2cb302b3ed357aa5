package firewall

import (
	"net/netip"
	"sort"
	"strconv"
)

// Flow describes the first packet of a connection from the mesh.
type Flow struct {
	Source, Destination netip.Addr
	Protocol            uint8 // number in the IP header or, of IPv6, in the last extension header
	DestinationPort     uint16
}

// Matcher decides on new connections as the ingress chain does. It is immutable,
// and its methods allocate nothing.
type Matcher struct {
	block bool
	dns   netip.Addr
	rules []matchRule
}

// matchRule is an ingress rule for one family.
type matchRule struct {
	protocol uint8
	v6       bool
	name     string
	ports    []PortRange
	sources  []netip.Prefix
}

// NewMatcher returns a matcher for rules that in.Check accepts.
func NewMatcher(in Ingress) *Matcher {
	m := &Matcher{block: in.Default == ActionBlock, dns: in.DNS}
	for i, r := range in.Rules {
		name := r.Name
		if name == "" {
			name = "rule " + strconv.Itoa(i)
		}
		v4, v6 := families(r.Sources)
		if r.Protocol.of(false) {
			m.rules = append(m.rules, matchRule{r.Protocol.Number(), false, name, r.Ports, v4})
		}
		if r.Protocol.of(true) {
			m.rules = append(m.rules, matchRule{r.Protocol.Number(), true, name, r.Ports, v6})
		}
	}
	return m
}

// Restricts reports whether the matcher refuses anything. If not, connections need
// not be tracked.
func (m *Matcher) Restricts() bool { return m != nil && (m.block || len(m.rules) > 0) }

// Allows reports whether f is allowed, and returns the name of the rule that
// decided; it is empty for the default action. A nil Matcher allows everything.
func (m *Matcher) Allows(f Flow) (ok bool, rule string) {
	if m == nil {
		return true, ""
	}
	if m.dns.IsValid() && f.DestinationPort == dnsPort && (f.Protocol == ProtocolTCP.Number() || f.Protocol == ProtocolUDP.Number()) &&
		f.Destination.Unmap().WithZone("") == m.dns {
		return true, dnsRule
	}
	source := f.Source.Unmap().WithZone("")
	for i := range m.rules {
		r := &m.rules[i]
		if r.protocol == f.Protocol && r.v6 == source.Is6() && r.hasPort(f.DestinationPort) && contains(r.sources, source) == m.block {
			return m.block, r.name
		}
	}
	return !m.block, ""
}

func (r *matchRule) hasPort(p uint16) bool {
	for _, ports := range r.ports {
		if ports.From <= p && p <= ports.To {
			return true
		}
	}
	return len(r.ports) == 0
}

// contains reports whether one of sorted, disjoint prefixes contains a.
func contains(l []netip.Prefix, a netip.Addr) bool {
	i := sort.Search(len(l), func(i int) bool { return a.Less(l[i].Addr()) })
	return i > 0 && l[i-1].Contains(a)
}
