package mesh

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"go4.org/netipx"
)

// divide must agree with the plain rule: subtract all earlier sets from each.
func TestDivide(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		owners := 1 + rng.IntN(8)
		var want []span
		plain := make([]*netipx.IPSet, owners)
		var taken netipx.IPSetBuilder
		for o := range owners {
			var b netipx.IPSetBuilder
			for range rng.IntN(6) {
				p := randomPrefix(rng)
				b.AddPrefix(p)
				want = appendSpan(want, p, ownerOf(o))
			}
			set, err := b.IPSet()
			if err != nil {
				t.Fatal(err)
			}
			earlier, _ := taken.Clone().IPSet()
			b.AddSet(set)
			b.RemoveSet(earlier)
			plain[o], _ = b.IPSet()
			taken.AddSet(set)
		}
		got := make([]netipx.IPSetBuilder, owners)
		var before span
		had, _ := divide(want)
		for _, s := range had {
			if before.to.IsValid() && !before.to.Less(s.from) || before.owner == s.owner && before.to.Next() == s.from {
				t.Fatalf("%v after %v: not sorted, disjoint and joined", s, before)
			}
			got[s.owner.index].AddRange(netipx.IPRangeFrom(s.from, s.to))
			before = s
		}
		for o := range owners {
			if set, err := got[o].IPSet(); err != nil || !set.Equal(plain[o]) {
				t.Fatalf("owner %d has %v, want %v", o, set.Ranges(), plain[o].Ranges())
			}
		}
	}
}

// randomPrefix is likely to overlap another, or to touch an end of the family.
func randomPrefix(rng *rand.Rand) netip.Prefix {
	b := [4]byte{[]byte{0, 10, 255}[rng.IntN(3)], byte(rng.IntN(2)) * 255, byte(rng.IntN(4)), byte(rng.IntN(256))}
	if rng.IntN(2) == 0 {
		return netip.PrefixFrom(netip.AddrFrom4(b), rng.IntN(33)).Masked()
	}
	var a [16]byte
	copy(a[:4], b[:])
	copy(a[12:], b[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), rng.IntN(129)).Masked()
}
