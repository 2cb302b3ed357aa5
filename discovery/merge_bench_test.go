package discovery

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/wirespan/wirespan/mesh"
)

// manyAffiliates returns n affiliates of an ordinary size, sorted by node id.
func manyAffiliates(n int) []mesh.Affiliate {
	list := make([]mesh.Affiliate, n)
	for i := range list {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		list[i] = mesh.Affiliate{
			NodeID: fmt.Sprintf("node-%05d", i), Nodename: fmt.Sprint("n", i), Hostname: fmt.Sprint("n", i, ".example"),
			PublicKey: mesh.Key{byte(i), byte(i >> 8), 1}, Addresses: []netip.Addr{addr}, Endpoints: []netip.AddrPort{netip.AddrPortFrom(addr, 51820)},
			Record: mesh.Record{Sequence: 1, Start: 1},
		}
	}
	return list
}

func BenchmarkMerge(b *testing.B) {
	const n = 5000
	list := manyAffiliates(n)
	unsigned := manyAffiliates(n)
	for i := range unsigned {
		unsigned[i].Record = mesh.Record{}
	}
	for name, sets := range map[string][]Source{
		"one source":           {from("a", list)},
		"two, apart":           {from("a", list[:n/2]), from("b", list[n/2:])},
		"two, the same":        {from("a", list), from("b", list)},
		"two of Talos' format": {from("a", unsigned), from("b", unsigned)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Merge(sets...)
			}
		})
	}
}

// from returns a service of this name.
func from(name string, list []mesh.Affiliate) Source {
	return Source{Kind: KindService, Name: name, Affiliates: list}
}
