package firewall_test

import (
	"slices"
	"testing"

	. "github.com/wirespan/wirespan/firewall"
)

func TestDiff(t *testing.T) {
	for _, tt := range []struct{ name, old, new, add, remove string }{
		{"nothing", "", "", "", ""},
		{"equal", "10.0.0.0/8 ::/0", "10.0.0.0/8 ::/0", "", ""},
		{"first", "", "10.0.0.0/8 2001:db8::/32", "10.0.0.0/8 2001:db8::/32", ""},
		{"last", "10.0.0.0/8 2001:db8::/32", "", "", "10.0.0.0/8 2001:db8::/32"},
		{"in between", "10.0.0.0/16 10.2.0.0/16", "10.0.0.0/16 10.1.0.0/16 10.2.0.0/16", "10.1.0.0/16", ""},
		{"wider", "10.0.0.0/16 10.2.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/16 10.2.0.0/16"},
		{"narrower", "10.0.0.0/8", "10.0.0.0/16 10.2.0.0/16", "10.0.0.0/16 10.2.0.0/16", "10.0.0.0/8"},
		{"other family", "10.0.0.0/8", "::/0", "::/0", "10.0.0.0/8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			add, remove := Diff(prefixes(tt.old), prefixes(tt.new))
			if !slices.Equal(add, prefixes(tt.add)) || !slices.Equal(remove, prefixes(tt.remove)) {
				t.Errorf("add %v, remove %v, want %q and %q", add, remove, tt.add, tt.remove)
			}
		})
	}
}

func TestSameShape(t *testing.T) {
	base := func() Policy {
		p := testPolicy()
		p.Routed = prefixes("10.0.0.0/8")
		p.Ingress.Rules = []IngressRule{{Name: "ssh", Protocol: ProtocolTCP, Sources: prefixes("10.0.0.0/8")}}
		return p
	}
	for _, tt := range []struct {
		name   string
		change func(*Policy)
		want   bool
	}{
		{"nothing", func(*Policy) {}, true},
		{"routed networks", func(p *Policy) { p.Routed = prefixes("10.1.0.0/16 2001:db8::/32") }, true},
		{"no routed networks", func(p *Policy) { p.Routed = nil }, true},
		{"sources", func(p *Policy) { p.Ingress.Rules[0].Sources = prefixes("10.1.0.0/16 10.3.0.0/16") }, true},
		{"sources of another family", func(p *Policy) { p.Ingress.Rules[0].Sources = prefixes("10.1.0.0/16 ::/0") }, false},
		{"ports", func(p *Policy) { p.Ingress.Rules[0].Ports = []PortRange{{22, 22}} }, false},
		{"default action", func(p *Policy) { p.Ingress.Default = ActionBlock }, false},
		{"returning", func(p *Policy) { p.ReturnByTunnel = true }, false},
		{"MTU", func(p *Policy) { p.MTU = 1300 }, false},
		{"table", func(p *Policy) { p.Table = "x" }, false},
		{"priority", func(p *Policy) { p.RulePriority = 1 }, false},
		{"subnet", func(p *Policy) { p.Subnet = prefixes("fd00::/64")[0] }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := base()
			tt.change(&p)
			if got := Compile(p).SameShape(Compile(base())); got != tt.want {
				t.Errorf("same shape: %v, want %v", got, tt.want)
			}
		})
	}
}
