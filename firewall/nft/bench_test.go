package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/firewall"
)

func benchmark(b *testing.B, do func(b *testing.B, p firewall.Policy)) {
	namespace(b) // the benchmark's own goroutine; those of sub-benchmarks have other threads
	for _, n := range []int{10, 100, 1000, 10000} {
		b.Run(fmt.Sprint("prefixes=", n), func(b *testing.B) {
			namespace(b)
			tunnel(b, iface)
			p := policy()
			p.Routed = many(n)
			b.ReportAllocs()
			do(b, p)
		})
	}
}

// Replaces a table by one of the same size.
func BenchmarkApplyFull(b *testing.B) {
	benchmark(b, func(b *testing.B, p firewall.Policy) {
		f, rs := open(b), firewall.Compile(p)
		for b.Loop() {
			f.table.cache = nil
			apply(b, f, rs)
		}
	})
}

// Adds or removes one prefix.
func BenchmarkApplyOneChange(b *testing.B) {
	benchmark(b, func(b *testing.B, p firewall.Policy) {
		f, with := open(b), firewall.Compile(p)
		p.Routed = append(p.Routed[:3:3], p.Routed[4:]...)
		without := firewall.Compile(p)
		apply(b, f, with)
		for i := 0; b.Loop(); i++ {
			if i%2 == 0 {
				apply(b, f, without)
			} else {
				apply(b, f, with)
			}
		}
	})
}

// Nothing differs, and no other program changed nftables.
func BenchmarkApplyNothing(b *testing.B) {
	benchmark(b, func(b *testing.B, p firewall.Policy) {
		f, rs := open(b), firewall.Compile(p)
		apply(b, f, rs)
		for b.Loop() {
			apply(b, f, rs)
		}
	})
}

// Nothing differs, but another program changed nftables.
func BenchmarkApplyAfterOthers(b *testing.B) {
	benchmark(b, func(b *testing.B, p firewall.Policy) {
		f, rs := open(b), firewall.Compile(p)
		apply(b, f, rs)
		for b.Loop() {
			f.table.cache.generation--
			apply(b, f, rs)
		}
	})
}

// Follows packets through the rules of other programs, which have not changed.
func BenchmarkHostDrops(b *testing.B) {
	namespace(b)
	tunnel(b, iface)
	f := open(b)
	feed(b, "table inet f { chain forward { type filter hook forward priority filter; policy drop\n"+
		strings.Repeat("ip saddr 192.0.2.1 tcp dport 80 counter accept\n", maxHostRules-100)+"}\n}", "nft", "-f", "-")
	packets := []HostPacket{{Hook: firewall.HookForward, In: iface, Source: netip.MustParseAddr("10.7.0.7"), Protocol: firewall.ProtocolTCP}}
	for _, first := range []bool{true, false} {
		b.Run(fmt.Sprint("first=", first), func(b *testing.B) {
			for b.Loop() {
				if first {
					f.table.host = nil
				}
				if _, err := f.HostDrops(policy().Table, packets); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
