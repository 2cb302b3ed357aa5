package firewall_test

import (
	"net/netip"
	"slices"
	"testing"

	. "github.com/wirespan/wirespan/firewall"
	firewalltest "github.com/wirespan/wirespan/testdata/firewall"
)

// TestIngressCases runs the test cases that all filters share.
func TestIngressCases(t *testing.T) {
	cases, err := firewalltest.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			m := NewMatcher(c.Ingress)
			for _, p := range c.Packets {
				if ok, rule := m.Allows(p.Flow); ok != p.Accept || rule != p.Rule {
					t.Errorf("%v: %v by %q, want %v by %q", p, ok, rule, p.Accept, p.Rule)
				}
			}
		})
	}
}

func TestMatcherReadsAddresses(t *testing.T) {
	m := NewMatcher(Ingress{Default: ActionBlock, Rules: []IngressRule{{Protocol: ProtocolTCP, Sources: prefixes("10.0.0.0/8 fe80::/10")}}})
	for _, source := range addrs("10.1.2.3 ::ffff:10.1.2.3 fe80::1 fe80::1%eth0") {
		if ok, rule := m.Allows(Flow{Source: source, Protocol: 6}); !ok || rule != "rule 0" {
			t.Errorf("%v: %v by %q", source, ok, rule)
		}
	}
	if ok, _ := m.Allows(Flow{Protocol: 6}); ok {
		t.Error("a packet without a source is allowed")
	}
	var none *Matcher
	if ok, rule := none.Allows(Flow{}); !ok || rule != "" || none.Restricts() {
		t.Error("no matcher restricts")
	}
}

func TestSources(t *testing.T) {
	sub := func(prefix, except string) Subnet {
		s := Subnet{Prefix: netip.MustParsePrefix(prefix)}
		if except != "" {
			s.Except = netip.MustParsePrefix(except)
		}
		return s
	}
	for _, tt := range []struct {
		name    string
		subnets []Subnet
		peers   string
		want    string
	}{
		{"none", nil, "", ""},
		{"invalid", []Subnet{{}}, "", ""},
		{"unmasked", []Subnet{sub("10.1.2.3/8", "")}, "2001:db8::1/32", "10.0.0.0/8 2001:db8::/32"},
		{"joined", []Subnet{sub("10.0.1.0/24", ""), sub("10.0.0.0/24", "")}, "10.0.0.7/32", "10.0.0.0/23"},
		{"except", []Subnet{sub("10.0.0.0/8", "10.128.0.0/9")}, "", "10.0.0.0/9"},
		{"except in the middle", []Subnet{sub("10.0.0.0/8", "10.64.0.0/10")}, "", "10.0.0.0/10 10.128.0.0/9"},
		{"except of another network", []Subnet{sub("10.0.0.0/8", "192.0.2.0/24")}, "", "10.0.0.0/8"},
		{"except of its own subnet only", []Subnet{sub("10.0.0.0/8", "10.0.0.0/9"), sub("10.0.0.0/24", "")}, "10.1.0.1/32", "10.0.0.0/24 10.1.0.1/32 10.128.0.0/9"},
		{"except everything", []Subnet{sub("10.1.0.0/16", "10.0.0.0/8")}, "", ""},
		{"mapped", []Subnet{sub("::ffff:10.0.0.0/104", "::ffff:10.128.0.0/105")}, "::ffff:192.0.2.1/128", "10.0.0.0/9 192.0.2.1/32"},
		{"everything", []Subnet{sub("0.0.0.0/0", ""), sub("::/0", "")}, "10.0.0.1/32", "0.0.0.0/0 ::/0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Sources(tt.subnets, prefixes(tt.peers)); !slices.Equal(got, prefixes(tt.want)) {
				t.Errorf("%v, want %s", got, tt.want)
			}
		})
	}
}
