package mesh

import "testing"

// The firewall refuses a plan that routes a special range, so no peer may get one.
func TestSpecialPrefixesAreNotRouted(t *testing.T) {
	in := testInput()
	in.Config.ForceRouting = true
	in.Config.AllowedNetworks = []Allowance{{"n1", prefixes("0.0.0.0/0")[0]}, {"n1", prefixes("::/0")[0]}}
	p := testPeer("n1", "11")
	p.AdditionalAddresses = prefixes("0.0.0.0/0 ::/0")
	for _, s := range SpecialPrefixes() {
		p.AdditionalAddresses = append(p.AdditionalAddresses, s.Prefix)
		p.Addresses = append(p.Addresses, s.Prefix.Addr())
	}
	in.Affiliates = []Affiliate{p}
	routed := Decide(in, testNow).Routed
	if len(routed) == 0 {
		t.Fatal("the default routes are not routed")
	}
	for _, s := range SpecialPrefixes() {
		for _, r := range routed {
			if r.Overlaps(s.Prefix) {
				t.Errorf("%v is routed, and overlaps %v (%s)", r, s.Prefix, s.Purpose)
			}
		}
	}
}

// An outer range before an inner one would hide the inner one's purpose.
func TestSpecialPrefixesInOrder(t *testing.T) {
	list := SpecialPrefixes()
	for i, outer := range list {
		for _, inner := range list[i+1:] {
			if outer.Prefix.Overlaps(inner.Prefix) && outer.Prefix.Bits() <= inner.Prefix.Bits() {
				t.Errorf("%v comes before %v", outer.Prefix, inner.Prefix)
			}
		}
	}
}
