// Package firewalltest is the table of what ingress rules do to packets, for the
// tests of everything that enforces them: package firewall, and the filters for
// TUN and netstack. Only tests import it.
package firewalltest

import (
	"bytes"
	_ "embed" // for the table
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/wirespan/wirespan/firewall"
)

//go:embed ingress.yaml
var ingressYAML []byte

// Case is a policy, and packets that come in from the mesh.
type Case struct {
	Name    string
	Ingress firewall.Ingress
	Packets []Packet
}

// Packet is the first of a connection; protocols ICMP and ICMPv6 are echo
// requests.
type Packet struct {
	firewall.Flow
	Accept bool
	Rule   string // that decides; empty: the default action
}

// String names the packet in a test's message.
func (p Packet) String() string {
	return fmt.Sprintf("protocol %d from %v to %v port %d", p.Protocol, p.Source, p.Destination, p.DestinationPort)
}

// table is the file.
type table struct {
	Node  struct{ IPv4, IPv6 netip.Addr }
	Cases []struct {
		Name    string
		Default firewall.Action
		DNS     netip.Addr
		Rules   []rule
		Packets []packet
	}
}

type rule struct {
	Name     string
	Protocol firewall.Protocol
	Ports    []string
	Subnets  []struct{ Subnet, Except netip.Prefix }
	Peers    []netip.Prefix
}

type packet struct {
	Source        netip.Addr
	Protocol      string
	Port          uint16
	Verdict, Rule string
}

// Cases reads the table.
func Cases() ([]Case, error) {
	var t table
	dec := yaml.NewDecoder(bytes.NewReader(ingressYAML))
	dec.KnownFields(true)
	if err := dec.Decode(&t); err != nil {
		return nil, fmt.Errorf("ingress.yaml: %w", err)
	}
	var out []Case
	for _, c := range t.Cases {
		one := Case{Name: c.Name, Ingress: firewall.Ingress{Default: c.Default, DNS: c.DNS}}
		for _, r := range c.Rules {
			resolved, err := r.resolve()
			if err != nil {
				return nil, fmt.Errorf("ingress.yaml: %s: %w", c.Name, err)
			}
			one.Ingress.Rules = append(one.Ingress.Rules, resolved)
		}
		if err := one.Ingress.Check(); err != nil {
			return nil, fmt.Errorf("ingress.yaml: %s: %w", c.Name, err)
		}
		for _, p := range c.Packets {
			parsed, err := p.parse(t.Node.IPv4, t.Node.IPv6)
			if err != nil {
				return nil, fmt.Errorf("ingress.yaml: %s: %w", c.Name, err)
			}
			one.Packets = append(one.Packets, parsed)
		}
		out = append(out, one)
	}
	return out, nil
}

func (r rule) resolve() (firewall.IngressRule, error) {
	out := firewall.IngressRule{Name: r.Name, Protocol: r.Protocol}
	for _, s := range r.Ports {
		ports, err := portRange(s)
		if err != nil {
			return out, err
		}
		out.Ports = append(out.Ports, ports)
	}
	var subnets []firewall.Subnet
	for _, s := range r.Subnets {
		subnets = append(subnets, firewall.Subnet{Prefix: s.Subnet, Except: s.Except})
	}
	out.Sources = firewall.Sources(subnets, r.Peers)
	return out, nil
}

func (p packet) parse(node4, node6 netip.Addr) (Packet, error) {
	number, err := protocol(p.Protocol)
	if err != nil {
		return Packet{}, err
	}
	if p.Verdict != "accept" && p.Verdict != "drop" {
		return Packet{}, fmt.Errorf("verdict %q", p.Verdict)
	}
	out := Packet{Accept: p.Verdict == "accept", Rule: p.Rule}
	out.Flow = firewall.Flow{Source: p.Source, Destination: node4, Protocol: number, DestinationPort: p.Port}
	if p.Source.Is6() {
		out.Destination = node6
	}
	return out, nil
}

func portRange(s string) (firewall.PortRange, error) {
	from, to, found := strings.Cut(s, "-")
	if !found {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return firewall.PortRange{}, fmt.Errorf("ports %q: %w", s, err)
	}
	b, err := strconv.ParseUint(to, 10, 16)
	if err != nil {
		return firewall.PortRange{}, fmt.Errorf("ports %q: %w", s, err)
	}
	return firewall.PortRange{From: uint16(a), To: uint16(b)}, nil
}

func protocol(s string) (uint8, error) {
	if n := firewall.Protocol(s).Number(); n != 0 {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("protocol %q: %w", s, err)
	}
	return uint8(n), nil
}
