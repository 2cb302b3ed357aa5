package firewall_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	. "github.com/wirespan/wirespan/firewall"
)

var benchSizes = []int{10, 100, 1000, 10_000}

// Check is included, because Compile alone only splits the list.
func BenchmarkCompile(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := largePolicy(n)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Check(); err != nil {
					b.Fatal(err)
				}
				Compile(p)
			}
		})
	}
}

func BenchmarkText(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rs := Compile(largePolicy(n))
			b.ReportAllocs()
			for b.Loop() {
				_ = rs.String()
			}
		})
	}
}

// Replaces one prefix in the middle.
func BenchmarkDiff(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			old := largePolicy(n).Routed
			changed := slices.Clone(old)
			changed[n/2] = netip.PrefixFrom(changed[n/2].Addr(), changed[n/2].Addr().BitLen())
			if add, remove := Diff(old, changed); len(add) != 1 || len(remove) != 1 {
				b.Fatalf("add %v, remove %v", add, remove)
			}
			b.ReportAllocs()
			for b.Loop() {
				Diff(old, changed)
			}
		})
	}
}

// Ten rules with n networks as sources each; none contains the packet's source.
func BenchmarkMatcher(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			m, f := largeMatcher(n)
			for b.Loop() {
				if ok, _ := m.Allows(f); ok {
					b.Fatal("allowed")
				}
			}
		})
	}
}

func largeMatcher(n int) (*Matcher, Flow) {
	in := Ingress{Default: ActionBlock}
	for i := range 10 {
		in.Rules = append(in.Rules, IngressRule{Name: fmt.Sprint(i), Protocol: ProtocolTCP, Ports: []PortRange{{22, 22}, {80, 90}}, Sources: largePolicy(n).Routed})
	}
	return NewMatcher(in), Flow{Source: netip.MustParseAddr("10.0.200.250"), Protocol: 6, DestinationPort: 85}
}

func TestMatcherDoesNotAllocate(t *testing.T) {
	m, f := largeMatcher(100)
	mapped := f
	mapped.Source = netip.AddrFrom16(f.Source.As16())
	if n := testing.AllocsPerRun(100, func() { m.Allows(f); m.Allows(mapped) }); n > 0 {
		t.Errorf("%v allocations per packet", n)
	}
}
