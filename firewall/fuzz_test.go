package firewall_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	. "github.com/wirespan/wirespan/firewall"
)

// FuzzCompile checks what must hold for any valid policy. The fuzzer's bytes
// choose from small sets of values, so that collisions are frequent.
func FuzzCompile(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	f.Add([]byte{})
	for range 40 {
		seed := make([]byte, 10+rng.IntN(300))
		for i := range seed {
			seed[i] = byte(rng.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &chooser{data}
		p := c.policy()
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		rs := Compile(p)
		checkSets(t, rs)
		checkConntrack(t, p, rs)
		if again := Compile(p); !reflect.DeepEqual(rs, again) || rs.String() != again.String() || !rs.SameShape(again) {
			t.Errorf("equal policies, rulesets\n%v\n%v", rs, again)
		}
		q := c.policy()
		checkDiff(t, p.Routed, q.Routed)
		checkMatcher(t, c, p.Ingress)
		checkExplain(t, c, p)
	})
}

func checkSets(t *testing.T, rs Ruleset) {
	t.Helper()
	used := map[string]bool{"routed4": true, "routed6": true}
	for _, ch := range rs.Chains {
		for _, r := range ch.Rules {
			for _, e := range r {
				if in, ok := e.(InSet); ok {
					i := slices.IndexFunc(rs.Sets, func(s Set) bool { return s.Name == in.Set })
					if i < 0 || rs.Sets[i].IPv6 != in.IPv6 {
						t.Errorf("no set for %v", in)
					}
					used[in.Set] = true
				}
			}
		}
	}
	for _, s := range rs.Sets {
		if !used[s.Name] {
			t.Errorf("set %s is in no rule", s.Name)
		}
		for i, e := range s.Elements {
			if e.Addr().Is6() != s.IPv6 || e != e.Masked() || i > 0 && (e.Overlaps(s.Elements[i-1]) || e.Compare(s.Elements[i-1]) < 0) {
				t.Errorf("set %s has %v", s.Name, s.Elements)
			}
		}
	}
}

// checkConntrack fails if rules use connection tracking without need, or not where
// it is needed.
func checkConntrack(t *testing.T, p Policy, rs Ruleset) {
	t.Helper()
	leads6 := slices.ContainsFunc(p.Forwarded, func(n netip.Prefix) bool { return n.Addr().Is6() })
	needed := p.ReturnByTunnel || len(p.Masquerade) > 0 || leads6 || NewMatcher(p.Ingress).Restricts()
	if used := strings.Contains(rs.String(), "\tct ") || strings.Contains(rs.String(), " ct "); used != needed {
		t.Errorf("connections are tracked: %v, want %v\n%v", used, needed, rs)
	}
}

func checkDiff(t *testing.T, old, new []netip.Prefix) {
	t.Helper()
	add, remove := Diff(old, new)
	got := slices.DeleteFunc(slices.Clone(old), func(p netip.Prefix) bool { return slices.Contains(remove, p) })
	got = append(got, add...)
	slices.SortFunc(got, netip.Prefix.Compare)
	if !slices.Equal(got, new) {
		t.Errorf("%v, without %v, with %v, is not %v", old, remove, add, new)
	}
	if slices.ContainsFunc(add, func(p netip.Prefix) bool { return slices.Contains(old, p) }) {
		t.Errorf("%v is added to %v", add, old)
	}
}

// checkMatcher compares a matcher with the definition of the rules.
func checkMatcher(t *testing.T, c *chooser, in Ingress) {
	t.Helper()
	m := NewMatcher(in)
	for range 8 {
		f := Flow{Source: c.addr(), Protocol: uint8(choose(c, 1, 6, 17, 58, 132)), DestinationPort: uint16(choose(c, 0, 22, 80, 8000, 65535))}
		want := in.Default != ActionBlock
		for _, r := range in.Rules {
			named := r.Protocol.Number() == f.Protocol && (f.Protocol != 1 || f.Source.Is4()) && (f.Protocol != 58 || f.Source.Is6()) &&
				(len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p PortRange) bool { return p.From <= f.DestinationPort && f.DestinationPort <= p.To }))
			source := slices.ContainsFunc(r.Sources, func(p netip.Prefix) bool { return p.Contains(f.Source) })
			if named && source == (in.Default == ActionBlock) {
				want = !want
				break
			}
		}
		if got, rule := m.Allows(f); got != want || (rule == "") != (want == (in.Default != ActionBlock)) {
			t.Errorf("%+v: %v by %q, want %v, by\n%+v", f, got, rule, want, in)
		}
	}
}

// checkExplain fails if an explanation contradicts the sets, or gives no reasons.
func checkExplain(t *testing.T, c *chooser, p Policy) {
	t.Helper()
	q := Query{Destination: c.addr(), Own: []netip.Addr{c.addr()}, Gone: c.flip()}
	v := p.Explain(q)
	belongs := slices.ContainsFunc(append([]netip.Prefix{p.Subnet}, p.Routed...), func(n netip.Prefix) bool { return n.Contains(q.Destination) })
	want := PathBypass
	switch {
	case q.Destination == q.Own[0]:
		want = PathLocal
	case belongs && q.Gone:
		want = PathRefused
	case belongs:
		want = PathTunnel
	}
	if v.Path != want || len(v.Reasons) == 0 {
		t.Errorf("%+v: %+v, want %s", q, v, want)
	}
}

// chooser turns bytes into choices. When they are used up, it chooses the first.
type chooser struct{ data []byte }

func (c *chooser) int(n int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % n
}

func (c *chooser) flip() bool { return c.int(2) == 1 }

func choose[T any](c *chooser, from ...T) T { return from[c.int(len(from))] }

func (c *chooser) addr() netip.Addr {
	if c.flip() {
		return netip.AddrFrom4([4]byte{10, byte(c.int(3)), byte(c.int(3)), byte(c.int(4))})
	}
	if c.int(4) == 0 {
		return subnet.Addr().Next()
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 7: byte(c.int(3)), 15: byte(c.int(4))})
}

// networks returns a list that is valid in a Policy.
func (c *chooser) networks() []netip.Prefix {
	var out []netip.Prefix
	for range c.int(8) {
		a := c.addr()
		if p, err := a.Prefix(a.BitLen() - choose(c, 0, 1, 2, 8, 16)); err == nil && !p.Overlaps(subnet) {
			out = append(out, p)
		}
	}
	return Sources(nil, out)
}

func (c *chooser) policy() Policy {
	p := testPolicy()
	p.Routed = c.networks()
	p.ReturnByTunnel = c.flip()
	if c.flip() {
		p.Masquerade = c.networks()
	}
	if c.int(4) == 0 {
		p.Subnet = netip.Prefix{}
	}
	p.NoDefault4, p.NoDefault6 = c.flip(), c.flip()
	p.Ingress.Default = choose(c, "", ActionAccept, ActionBlock)
	for range c.int(4) {
		r := IngressRule{Name: choose(c, "a", "b"), Protocol: choose(c, ProtocolTCP, ProtocolUDP, ProtocolICMP, ProtocolICMPv6), Sources: c.networks()}
		for range c.int(3) {
			if r.Protocol == ProtocolTCP || r.Protocol == ProtocolUDP {
				r.Ports = append(r.Ports, choose(c, PortRange{22, 22}, PortRange{0, 80}, PortRange{80, 65535}))
			}
		}
		p.Ingress.Rules = append(p.Ingress.Rules, r)
	}
	return p
}
