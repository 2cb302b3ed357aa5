package codec

import (
	"encoding/hex"
	"net/netip"
	"reflect"
	"testing"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// These are bytes that Sidero's client (discovery-client v0.1.15) published with testKey.
const (
	vectorData = "af7e3c6292217eb9cbbc6158e84b2296cacf6249330f8f203fc59d961f16a96f3dc3c3ea57348a85ebab0db8cc75d9b1" +
		"f35f1bad81261fb7d1a59c12aa6bf02a1b4eeee4495eddd86ea29cd53180664ef74a5dc756d8169f003bdc4812251cf6" +
		"f2556c2eb01b2b354ae397aed18897853339f8aa833cc56b2ff1d023387e620bede00a86d83ad32ed14f09e45203181b" +
		"274e513c70850e022d16c667eaccda92cdcdb06b1cd55ff561150236d1cc8819b468be4e1686be66f4d76bb814e5e188" +
		"0ebefc5d916b5aa905876a589494b8b1c7720824957fd4243b942b79740c46deb881a94c9a32c875"
	vectorIPv4 = "d2097fb2e2b8cca6d05ac9f4780d2079"
	vectorIPv6 = "be5e66ff8096e5e9fae07d274ec145e235b0f7f43781feda9d4f5476c8f3b79d"
)

func TestVectors(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	want := mesh.Affiliate{
		NodeID: "theirs", Hostname: "theirs.example.org", Nodename: "theirs", OperatingSystem: "Talos (v1.14.0)",
		MachineType: mesh.MachineControlPlane, ControlPlanePort: 6443,
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")},
		PublicKey: mesh.Key{2}, Address: netip.MustParseAddr("fd00::2"),
		AdditionalAddresses:       []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("2001:db8:2::/64")},
		ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("10.2.3.0/24")},
		Endpoints:                 []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:51820"), netip.MustParseAddrPort("[2001:db8::2]:51820")},
	}
	got := OpenRaw(test, discovery.RawAffiliate{ID: "theirs", Data: unhex(vectorData), Endpoints: [][]byte{unhex(vectorIPv4), unhex(vectorIPv6)}}, discovery.Known{})
	if !reflect.DeepEqual(got, discovery.Opened{Affiliate: want}) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for i, s := range []string{vectorIPv4, vectorIPv6} {
		blob, err := SealEndpoint(testKey, want.Endpoints[i])
		if err != nil || hex.EncodeToString(blob) != s {
			t.Errorf("%v: sealed to %x, error %v; want %s", want.Endpoints[i], blob, err, s)
		}
	}
}
