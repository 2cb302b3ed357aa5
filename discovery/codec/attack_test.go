package codec

import (
	"net/netip"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/wire"
	"github.com/wirespan/wirespan/mesh"
)

// fields splits a message into its top-level fields.
func fields(t *testing.T, plain []byte) (out [][]byte) {
	t.Helper()
	for len(plain) > 0 {
		_, _, n := protowire.ConsumeField(plain)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		out = append(out, plain[:n])
		plain = plain[n:]
	}
	return out
}

// opens reports whether somebody who has the cluster's secret can publish a plaintext.
func opens(plain []byte, known discovery.Known) (mesh.Affiliate, bool) {
	a, _, err := OpenAffiliate(test, newGCM(testKey).Seal(testNonce[:], testNonce[:], plain, nil), known)
	return a, err == nil
}

// A signed message is taken apart and put together in other ways: nothing of that is
// taken, whichever fields move.
func TestReorderedRecords(t *testing.T) {
	plain := encodeSigned("c", nodeKey, signedAffiliate())
	if _, ok := opens(plain, discovery.Known{}); !ok {
		t.Fatal("the record itself is refused")
	}
	parts := fields(t, plain)
	if len(parts) < 5 {
		t.Fatalf("only %d fields", len(parts))
	}
	for i := range parts {
		for j := range parts {
			swapped := slices.Clone(parts)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			if again := slices.Concat(swapped...); !slices.Equal(again, plain) {
				if a, ok := opens(again, discovery.Known{}); ok {
					t.Errorf("fields %d and %d swapped: %+v", i, j, a)
				}
			}
		}
		if a, ok := opens(slices.Concat(slices.Concat(parts[:i]...), slices.Concat(parts[i+1:]...)), discovery.Known{}); ok && a.Record.Signed() {
			t.Errorf("without field %d: %+v", i, a)
		}
		if a, ok := opens(slices.Concat(parts[i], plain), discovery.Known{}); ok {
			t.Errorf("field %d twice: %+v", i, a)
		}
		if a, ok := opens(slices.Concat(plain, parts[i]), discovery.Known{}); ok {
			t.Errorf("field %d again at the end: %+v", i, a)
		}
	}
}

// Without its extension a record is an unsigned affiliate, which is not taken of a node
// that has signed.
func TestStrippedExtension(t *testing.T) {
	plain := encodeSigned("c", nodeKey, signedAffiliate())
	bare := signedPrefix(t, plain)
	if a, ok := opens(bare, discovery.Known{}); !ok || a.Record.Signed() {
		t.Errorf("of a stranger: %+v, %v", a, ok)
	}
	if a, ok := opens(bare, discovery.Known{Sequence: 1}); ok {
		t.Errorf("of a node that has signed: %+v", a)
	}
}

// Extensions and messages of two records of one node do not fit each other.
func TestMixedRecords(t *testing.T) {
	old, fresh := signedAffiliate(), signedAffiliate()
	fresh.Record.Sequence++
	fresh.Nodename = "fresh"
	one, two := encodeSigned("c", nodeKey, old), encodeSigned("c", nodeKey, fresh)
	a, b := signedPrefix(t, one), signedPrefix(t, two)
	for name, plain := range map[string][]byte{
		"an old message, a new extension": slices.Concat(a, two[len(b):]),
		"a new message, an old extension": slices.Concat(b, one[len(a):]),
		"both, the old one first":         slices.Concat(one, two),
		"both, the new one first":         slices.Concat(two, one),
		"a new extension after both":      slices.Concat(a, b, two[len(b):]),
	} {
		if got, ok := opens(plain, discovery.Known{}); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Endpoints beside a record, which anyone may put there, come after those that it signs,
// also if they are former ones of the same node.
func TestEndpointRollback(t *testing.T) {
	a := signedAffiliate()
	var beside [][]byte
	for _, e := range []string{"198.51.100.1:1", a.Endpoints[1].String(), "[::ffff:198.51.100.2]:1", a.Endpoints[0].String(), "[::ffff:192.0.2.1]:51820"} {
		sealed, err := SealEndpoint(testKey, netip.MustParseAddrPort(e))
		if err != nil {
			t.Fatal(err)
		}
		beside = append(beside, sealed)
	}
	got := OpenRaw(test, discovery.RawAffiliate{ID: a.NodeID, Data: seal(t, a), Endpoints: beside}, discovery.Known{})
	want := append(slices.Clone(a.Endpoints), netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("198.51.100.2:1"))
	if !slices.Equal(got.Affiliate.Endpoints, want) {
		t.Errorf("endpoints %v, want %v", got.Affiliate.Endpoints, want)
	}
}

// IPv4-mapped forms in a node's own extension are not taken: rules for IPv4 would miss them.
func TestMappedFormsInExtensions(t *testing.T) {
	mapped := netip.AddrFrom16(netip.MustParseAddr("::ffff:8.8.8.0").As16())
	network := func(a netip.Addr, bits int) []byte {
		v := append(a.AsSlice(), byte(bits))
		return wire.AppendBytes(nil, networkField, v)
	}
	var x extension
	var c cleaner
	start := extension{record: mesh.Record{Sequence: 1, Start: 1}}
	body := start.encode()
	body = append(body, network(mapped, 120)...)
	body = append(body, network(netip.MustParseAddr("10.0.0.0"), 33)...)
	body = append(body, network(netip.MustParseAddr("10.0.0.0"), 8)...)
	body = append(body, byte(signatureField)<<3|2, mesh.SignatureSize)
	body = append(body, make([]byte, mesh.SignatureSize)...)
	if err := x.decode(&c, body); err != nil || !slices.Equal(x.networks, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}) {
		t.Errorf("networks %v, %v", x.networks, err)
	}
}
