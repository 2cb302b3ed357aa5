package codec

import (
	"net/netip"
	"testing"

	"github.com/wirespan/wirespan/discovery"
)

func BenchmarkSealAffiliate(b *testing.B) {
	a := signedAffiliate()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := SealAffiliate(test, nodeKey, a, testNonce); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenAffiliate opens a record whose signature has been verified before.
func BenchmarkOpenAffiliate(b *testing.B) {
	a := signedAffiliate()
	blob, _, err := SealAffiliate(test, nodeKey, a, testNonce)
	if err != nil {
		b.Fatal(err)
	}
	known := discovery.Known{Sequence: a.Record.Sequence, Verified: true}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := OpenAffiliate(test, blob, known); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEndpoint(b *testing.B) {
	endpoint := netip.MustParseAddrPort("[2001:db8::1]:51820")
	b.ReportAllocs()
	for b.Loop() {
		blob, err := SealEndpoint(testKey, endpoint)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := OpenEndpoint(testKey, blob); err != nil {
			b.Fatal(err)
		}
	}
}
