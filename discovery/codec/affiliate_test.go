package codec

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

var (
	testKey   = mesh.NewSecret([32]byte{1, 2, 3, 31: 4})
	test      = Cluster{"c", testKey}
	other     = Cluster{"c", mesh.NewSecret([32]byte{9})}
	noKey     mesh.NodeKey
	testNonce = [NonceSize]byte{7, 11: 8}
	publicKey = mesh.Key{5, 31: 6}
)

func testAffiliate() mesh.Affiliate {
	return mesh.Affiliate{
		NodeID:                    "7x1SuC8Ege5BGXdAfTEff5iQnlWZLfv9h1LGMxA2pYkC",
		Addresses:                 []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		Hostname:                  "a.example.org",
		Nodename:                  "a",
		OperatingSystem:           "Debian GNU/Linux (13)",
		MachineType:               mesh.MachineWorker,
		PublicKey:                 publicKey,
		Address:                   netip.MustParseAddr("fd50:8d60:4238:6302:f857:23ff:fe21:d1e0"),
		AdditionalAddresses:       []netip.Prefix{netip.MustParsePrefix("10.244.3.1/24"), netip.MustParsePrefix("2001:db8:3::/64")},
		ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}
}

func TestAffiliateRoundTrip(t *testing.T) {
	full := testAffiliate()
	noKubeSpan := mesh.Affiliate{NodeID: "n", MachineType: mesh.MachineUnknown}
	for _, want := range []mesh.Affiliate{full, noKubeSpan} {
		blob, _, err := SealAffiliate(test, noKey, want, testNonce)
		if err != nil {
			t.Fatal(err)
		}
		if [NonceSize]byte(blob) != testNonce {
			t.Errorf("blob doesn't start with its nonce")
		}
		got, dropped, err := OpenAffiliate(test, blob, discovery.Known{})
		if err != nil || dropped != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, dropped %q, error %v\nwant %+v", got, dropped, err, want)
		}
	}
}

func TestSealAffiliateAnnouncesNoControlPlane(t *testing.T) {
	for _, machine := range []mesh.MachineType{mesh.MachineControlPlane, mesh.MachineInit, ""} {
		blob, _, err := SealAffiliate(test, noKey, mesh.Affiliate{NodeID: "n", MachineType: machine, ControlPlanePort: 6443}, testNonce)
		if err != nil {
			t.Fatal(err)
		}
		a, _, err := OpenAffiliate(test, blob, discovery.Known{})
		if err != nil || a.MachineType != mesh.MachineUnknown || a.ControlPlanePort != 0 {
			t.Errorf("%q: published as %q with port %d, error %v", machine, a.MachineType, a.ControlPlanePort, err)
		}
	}
}

func TestSealAffiliateLimits(t *testing.T) {
	if _, _, err := SealAffiliate(test, noKey, mesh.Affiliate{}, testNonce); err == nil {
		t.Error("sealed an affiliate without a node id")
	}
	// 28 bytes of nonce and tag, 9 of machine type, and tag and two length bytes of the name.
	fits := mesh.Affiliate{NodeID: strings.Repeat("x", discovery.MaxAffiliateDataSize-28-9-3)}
	blob, _, err := SealAffiliate(test, noKey, fits, testNonce)
	if err != nil || len(blob) != discovery.MaxAffiliateDataSize {
		t.Fatalf("%d bytes, error %v; want exactly the limit", len(blob), err)
	}
	fits.NodeID += "x"
	if _, _, err := SealAffiliate(test, noKey, fits, testNonce); err == nil || !strings.Contains(err.Error(), "2049 bytes, the limit is 2048") {
		t.Errorf("one byte too many: error %v", err)
	}
}

func TestOpenAffiliateRefuses(t *testing.T) {
	blob, _, err := SealAffiliate(test, noKey, testAffiliate(), testNonce)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, blob...)
	flipped[20] ^= 1
	for name, tc := range map[string]struct {
		cluster    Cluster
		blob       []byte
		unreadable bool
	}{
		"other secret": {other, blob, true},
		"one bit":      {test, flipped, true},
		"truncated":    {test, blob[:len(blob)-1], true},
		"only nonce":   {test, blob[:NonceSize], true},
		"no nonce":     {test, blob[:NonceSize-1], false},
		"too big":      {test, make([]byte, discovery.MaxAffiliateDataSize+1), false},
		"no message":   {test, newGCM(testKey).Seal(testNonce[:], testNonce[:], []byte{0xff, 0xff}, nil), false},
	} {
		_, _, err := OpenAffiliate(tc.cluster, tc.blob, discovery.Known{})
		if err == nil || errors.Is(err, ErrUnreadable) != tc.unreadable {
			t.Errorf("%s: error %v, want unreadable %v", name, err, tc.unreadable)
		}
	}
}

// sealRaw seals a message without checking it.
func sealRaw(t testing.TB, m *pb.Affiliate) []byte {
	t.Helper()
	plain, err := m.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return newGCM(testKey).Seal(testNonce[:], testNonce[:], plain, nil)
}

func TestOpenAffiliateCleans(t *testing.T) {
	ip4, mapped := []byte{192, 0, 2, 1}, netip.MustParseAddr("::ffff:192.0.2.2").AsSlice()
	zoned := append(netip.MustParseAddr("fe80::1").AsSlice(), "eth0"...)
	prefix := func(ip []byte, bits uint32) *pb.IPPrefix { return &pb.IPPrefix{Ip: ip, Bits: bits} }
	key := publicKey.String()
	for name, tc := range map[string]struct {
		in      *pb.Affiliate
		want    mesh.Affiliate
		dropped []string
	}{
		"addresses": {
			in:      &pb.Affiliate{Addresses: [][]byte{ip4, mapped, zoned, nil, {1, 2}, {0, 0, 0, 0}, {224, 0, 0, 1}, {255, 255, 255, 255}}},
			want:    mesh.Affiliate{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}},
			dropped: []string{"dropped malformed address (6)"},
		},
		"texts": {
			in:      &pb.Affiliate{Hostname: "a\x1b[31m", Nodename: strings.Repeat("n", 254), OperatingSystem: "x\xff"},
			dropped: []string{"dropped malformed hostname (1)", "dropped malformed nodename (1)", "dropped malformed operating system (1)"},
		},
		"text direction": {
			in:      &pb.Affiliate{Hostname: "a\u202eb", Nodename: strings.Repeat("n", 253)},
			want:    mesh.Affiliate{Nodename: strings.Repeat("n", 253)},
			dropped: []string{"dropped malformed hostname (1)"},
		},
		"machine type": {in: &pb.Affiliate{MachineType: "mainframe"}},
		"control plane": {
			in:   &pb.Affiliate{MachineType: "controlplane", ControlPlane: &pb.ControlPlane{ApiServerPort: 6443}},
			want: mesh.Affiliate{MachineType: mesh.MachineControlPlane, ControlPlanePort: 6443},
		},
		"control plane port": {
			in:      &pb.Affiliate{ControlPlane: &pb.ControlPlane{ApiServerPort: 65536}},
			dropped: []string{"dropped malformed control plane port (1)"},
		},
		"bad public key": {
			in:      &pb.Affiliate{Kubespan: &pb.KubeSpan{PublicKey: "AAAA", AdditionalAddresses: []*pb.IPPrefix{prefix(ip4, 24)}}},
			dropped: []string{"dropped malformed KubeSpan part (invalid public key) (1)"},
		},
		"zero public key": {
			in:      &pb.Affiliate{Kubespan: &pb.KubeSpan{PublicKey: mesh.Key{}.String()}},
			dropped: []string{"dropped malformed KubeSpan part (invalid public key) (1)"},
		},
		"kubespan address": {
			in:      &pb.Affiliate{Kubespan: &pb.KubeSpan{PublicKey: key, Address: zoned}},
			want:    mesh.Affiliate{PublicKey: publicKey},
			dropped: []string{"dropped malformed KubeSpan address (1)"},
		},
		"prefixes": {
			in: &pb.Affiliate{Kubespan: &pb.KubeSpan{
				PublicKey: key, Address: ip4,
				AdditionalAddresses:        []*pb.IPPrefix{prefix(ip4, 24), prefix(ip4, 33), prefix(mapped, 120), prefix(mapped, 95), prefix(nil, 0), prefix(zoned, 64), {}},
				ExcludeAdvertisedAddresses: []*pb.IPPrefix{prefix(ip4, 4294967295)},
			}},
			want: mesh.Affiliate{
				PublicKey: publicKey, Address: netip.MustParseAddr("192.0.2.1"),
				AdditionalAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24")},
			},
			dropped: []string{"dropped malformed additional address (5)", "dropped malformed excluded network (1)"},
		},
	} {
		if tc.want.MachineType == "" {
			tc.want.MachineType = machineType(tc.in.GetMachineType())
		}
		got, dropped, err := OpenAffiliate(test, sealRaw(t, tc.in), discovery.Known{})
		if err != nil || !reflect.DeepEqual(got, tc.want) || !reflect.DeepEqual(dropped, tc.dropped) {
			t.Errorf("%s: got %+v, dropped %q, error %v\nwant %+v, dropped %q", name, got, dropped, err, tc.want, tc.dropped)
		}
	}
}

func TestParseAddr(t *testing.T) {
	for in, want := range map[string]string{
		"c0000201":                         "192.0.2.1",
		"00000000000000000000ffffc0000201": "192.0.2.1",
		"20010db8000000000000000000000001": "2001:db8::1",
		"":                                 "", "00000000": "", "e0000001": "", "c00002": "",
	} {
		b, _ := hex.DecodeString(in)
		got, err := ParseAddr(b)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%s: %v, %v; want %q", in, got, err, want)
		}
	}
}

// FuzzOpenAffiliate feeds plaintext, since random data never authenticates.
func FuzzOpenAffiliate(f *testing.F) {
	f.Add(encodeAffiliate(testAffiliate()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, plain []byte) {
		if _, _, err := OpenAffiliate(test, plain, discovery.Known{}); err == nil {
			t.Fatal("unsealed data was accepted")
		}
		a, _, err := OpenAffiliate(test, newGCM(testKey).Seal(testNonce[:], testNonce[:], plain, nil), discovery.Known{})
		if err != nil {
			return
		}
		checkClean(t, a)
		if a.NodeID == "" {
			return
		}
		if a.MachineType != mesh.MachineWorker {
			a.MachineType = mesh.MachineUnknown
		}
		a.ControlPlanePort = 0
		blob, _, err := SealAffiliate(test, noKey, a, testNonce)
		if err != nil {
			return // strings may be longer in valid form
		}
		b, dropped, err := OpenAffiliate(test, blob, discovery.Known{})
		if a.PublicKey.IsZero() || a.Address.IsValid() {
			if err != nil || dropped != nil || !reflect.DeepEqual(a, b) {
				t.Fatalf("%+v\nchanged to %+v, dropped %q, error %v", a, b, dropped, err)
			}
		}
	})
}

func checkClean(t *testing.T, a mesh.Affiliate) {
	t.Helper()
	for _, s := range []string{a.Hostname, a.Nodename, a.OperatingSystem} {
		if len(s) > maxTextLength || !discovery.Printable(s) {
			t.Fatalf("text %q", s)
		}
	}
	for _, ip := range a.Addresses {
		if !ip.IsValid() || ip.Is4In6() || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
			t.Fatalf("address %v", ip)
		}
	}
	for _, p := range append(a.AdditionalAddresses, a.ExcludeAdvertisedNetworks...) {
		if !p.IsValid() || p.Addr().Is4In6() {
			t.Fatalf("prefix %v", p)
		}
	}
	if a.PublicKey.IsZero() && (a.Address.IsValid() || a.AdditionalAddresses != nil || a.ExcludeAdvertisedNetworks != nil) {
		t.Fatalf("KubeSpan fields without a key: %+v", a)
	}
	switch a.MachineType {
	case mesh.MachineInit, mesh.MachineControlPlane, mesh.MachineWorker, mesh.MachineUnknown:
	default:
		t.Fatalf("machine type %q", a.MachineType)
	}
}

func TestMachineType(t *testing.T) {
	for s, want := range map[string]mesh.MachineType{
		"": mesh.MachineWorker, "join": mesh.MachineWorker, "worker": mesh.MachineWorker, "init": mesh.MachineInit,
		"controlplane": mesh.MachineControlPlane, "unknown": mesh.MachineUnknown, "Worker": mesh.MachineUnknown, "x": mesh.MachineUnknown,
	} {
		if got := machineType(s); got != want {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	}
}
