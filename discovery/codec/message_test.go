package codec

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wirespan/wirespan/discovery/wire"
	"github.com/wirespan/wirespan/mesh"
)

// generated returns an affiliate as a message of Sidero's generated code.
func generated(a mesh.Affiliate) *pb.Affiliate {
	prefixes := func(in []netip.Prefix) (out []*pb.IPPrefix) {
		for _, p := range in {
			out = append(out, &pb.IPPrefix{Ip: p.Addr().AsSlice(), Bits: uint32(p.Bits())})
		}
		return out
	}
	m := &pb.Affiliate{NodeId: a.NodeID, Hostname: a.Hostname, Nodename: a.Nodename, OperatingSystem: a.OperatingSystem, MachineType: "unknown"}
	if a.MachineType == mesh.MachineWorker {
		m.MachineType = "worker"
	}
	for _, ip := range a.Addresses {
		m.Addresses = append(m.Addresses, ip.Unmap().WithZone("").AsSlice())
	}
	if !a.PublicKey.IsZero() {
		m.Kubespan = &pb.KubeSpan{
			PublicKey: a.PublicKey.String(), Address: a.Address.AsSlice(),
			AdditionalAddresses: prefixes(a.AdditionalAddresses), ExcludeAdvertisedAddresses: prefixes(a.ExcludeAdvertisedNetworks),
		}
	}
	return m
}

// decoded returns what [message] holds after decoding what m was decoded from.
func decoded(m *pb.Affiliate) message {
	prefixes := func(in []*pb.IPPrefix) (out []prefixMessage) {
		for _, p := range in {
			out = append(out, prefixMessage{p.GetIp(), p.GetBits()})
		}
		return out
	}
	text := func(s string) []byte { return []byte(s) }
	ks := m.GetKubespan()
	return message{
		nodeID: text(m.GetNodeId()), hostname: text(m.GetHostname()), nodename: text(m.GetNodename()),
		machineType: text(m.GetMachineType()), operatingSystem: text(m.GetOperatingSystem()), addresses: m.GetAddresses(),
		kubeSpan: ks != nil, publicKey: text(ks.GetPublicKey()), address: ks.GetAddress(),
		additional: prefixes(ks.GetAdditionalAddresses()), excluded: prefixes(ks.GetExcludeAdvertisedAddresses()),
		controlPlane: m.GetControlPlane() != nil, apiPort: m.GetControlPlane().GetApiServerPort(),
	}
}

// same compares two messages; nil and empty slices are equal.
func same(a, b message) bool {
	flat := func(m message) (all [][]byte) {
		all = append(all, m.nodeID, m.hostname, m.nodename, m.machineType, m.operatingSystem, m.publicKey, m.address)
		all = append(all, m.addresses...)
		for _, p := range append(append([]prefixMessage{}, m.additional...), m.excluded...) {
			all = append(all, p.ip, protowire.AppendVarint(nil, uint64(p.bits)))
		}
		return all
	}
	return reflect.DeepEqual([]int{len(a.addresses), len(a.additional), len(a.excluded), int(a.apiPort)},
		[]int{len(b.addresses), len(b.additional), len(b.excluded), int(b.apiPort)}) &&
		a.kubeSpan == b.kubeSpan && a.controlPlane == b.controlPlane &&
		bytes.Equal(bytes.Join(flat(a), []byte("|")), bytes.Join(flat(b), []byte("|")))
}

// The encoded form is that of Sidero's generated code, to the byte.
func TestEncodedAsGenerated(t *testing.T) {
	for i, a := range []mesh.Affiliate{
		{},
		testAffiliate(), smallest(), withKubeSpan(), signedAffiliate(),
		{NodeID: "n", PublicKey: publicKey, Addresses: []netip.Addr{{}, netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:192.0.2.1")}},
		{PublicKey: publicKey, AdditionalAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), {}}},
	} {
		want, err := generated(a).MarshalVT()
		if got := encodeAffiliate(a); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d:\n%x, want\n%x, error %v", i, got, want, err)
		}
	}
}

// FuzzAffiliateAsGenerated decodes what Sidero's generated code decodes, to the same.
func FuzzAffiliateAsGenerated(f *testing.F) {
	f.Add(encodeAffiliate(testAffiliate()))
	f.Add(encodeSigned("c", nodeKey, signedAffiliate()))
	twice, _ := (&pb.Affiliate{ControlPlane: &pb.ControlPlane{ApiServerPort: 1 << 31}, Kubespan: &pb.KubeSpan{PublicKey: "k"}}).MarshalVT()
	f.Add(append(encodeAffiliate(testAffiliate()), twice...))
	f.Add([]byte{0x3a, 0x02, 0x08, 0x01}) // a number for the public key
	f.Add([]byte{0x7b, 0x08, 0x01, 0x7c}) // a group of a later version
	f.Fuzz(func(t *testing.T, plain []byte) {
		var ours message
		var theirs pb.Affiliate
		err, theirErr := ours.decode(plain), theirs.UnmarshalVT(plain)
		if err != nil {
			if theirErr == nil && wellFormed(plain, affiliateForm) {
				t.Fatalf("refused: %x", plain)
			}
			return
		}
		if theirErr != nil {
			t.Fatalf("decoded, but the generated code says %v: %x", theirErr, plain)
		}
		if want := decoded(&theirs); !same(ours, want) {
			t.Fatalf("%+v, want %+v", ours, want)
		}
		a := decodeAffiliate(&cleaner{}, &ours)
		if want, err := generated(a).MarshalVT(); err != nil || !bytes.Equal(encodeAffiliate(a), want) {
			t.Fatalf("encoded to %x, want %x", encodeAffiliate(a), want)
		}
	})
}

// form is which fields of a message are messages.
type form map[wire.Number]form

var affiliateForm = form{
	kubeSpanField:     {additionalField: {}, excludedField: {}},
	controlPlaneField: {},
}

// wellFormed reports whether b and the messages in it are in protobuf's encoding. The
// generated code takes more: overlong numbers, and groups that end with another number.
func wellFormed(b []byte, f form) bool {
	for len(b) > 0 {
		field, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 || field > protowire.MaxValidNumber {
			return false
		}
		size := protowire.ConsumeFieldValue(field, kind, b[tag:])
		if size < 0 {
			return false
		}
		if inner, ok := f[wire.Number(field)]; ok && kind == protowire.BytesType {
			if v, _ := protowire.ConsumeBytes(b[tag:]); !wellFormed(v, inner) {
				return false
			}
		}
		b = b[tag+size:]
	}
	return true
}

// FuzzEndpointAsGenerated does the same for endpoints.
func FuzzEndpointAsGenerated(f *testing.F) {
	seed, _ := (&pb.Endpoint{Ip: []byte{192, 0, 2, 1}, Port: 51820}).MarshalVT()
	f.Add(seed)
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, plain []byte) {
		var theirs pb.Endpoint
		theirErr := theirs.UnmarshalVT(plain)
		ip, port, err := decodePair(plain, portField)
		if err != nil {
			if theirErr == nil && wellFormed(plain, nil) {
				t.Fatalf("refused: %x", plain)
			}
			return
		}
		if theirErr != nil || !bytes.Equal(ip, theirs.GetIp()) || port != theirs.GetPort() {
			t.Fatalf("%x, %d; want %x, %d, error %v", ip, port, theirs.GetIp(), theirs.GetPort(), theirErr)
		}
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		want, err := (&pb.Endpoint{Ip: addr.AsSlice(), Port: port}).MarshalVT()
		if got := appendPair(nil, addr, portField, port); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("encoded to %x, want %x", got, want)
		}
	})
}
