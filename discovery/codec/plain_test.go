package codec

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/wirespan/wirespan/mesh"
)

// plainAffiliate has all that is kept.
func plainAffiliate() mesh.Affiliate {
	return mesh.Affiliate{
		NodeID: "n", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Hostname: "h", Nodename: "n", OperatingSystem: "os",
		MachineType: mesh.MachineWorker, PublicKey: mesh.Key{1}, Address: netip.MustParseAddr("fd00::1"),
		AdditionalAddresses:       []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("0.0.0.0/0")},
		Endpoints:                 []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:2")},
		ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
		Record: mesh.Record{
			Sequence: 9, Instance: 8, Start: 7, Ephemeral: true, SecretNumber: 3, Relay: 443, RelayNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Relayed: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:2")}, NextKey: mesh.Key{2}, Prepared: []mesh.KeyTag{{5}},
		},
	}
}

func TestPlain(t *testing.T) {
	signed, unsigned := plainAffiliate(), plainAffiliate()
	unsigned.Record = mesh.Record{}
	static := unsigned
	static.Static = true
	for name, tc := range map[string]struct{ in, want mesh.Affiliate }{
		"signed": {signed, signed}, "unsigned": {unsigned, unsigned},
		"the administrator's word is not encoded": {static, unsigned},
		"without KubeSpan":                        {mesh.Affiliate{NodeID: "n", MachineType: mesh.MachineUnknown}, mesh.Affiliate{NodeID: "n", MachineType: mesh.MachineUnknown}},
	} {
		if got, err := DecodePlain(EncodePlain(tc.in)); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, tc.want)
		}
	}
	for _, bad := range [][]byte{nil, {0xff}, encodeAffiliate(signed)} {
		if a, err := DecodePlain(bad); err == nil {
			t.Errorf("%x gives %+v", bad, a)
		}
	}
}
