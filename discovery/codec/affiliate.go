package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/netip"

	"github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// NonceSize is the length of the random nonce at the start of sealed affiliate data.
const NonceSize = 12

// ErrUnreadable reports that sealed affiliate data fails authentication: it was sealed
// with another cluster secret, or damaged.
var ErrUnreadable = errors.New("data can't be decrypted: wrong cluster secret?")

// SealAffiliate encodes and encrypts a member's own affiliate, without its endpoints
// (see [SealEndpoint]). The nonce must be random and used only once.
//
// The control plane part is not written, and a machine type other than worker becomes
// unknown: Talos uses both for the load balancing of its control plane. Data above
// [MaxAffiliateDataSize] is an error and is not shortened.
func SealAffiliate(key mesh.Secret, a mesh.Affiliate, nonce [NonceSize]byte) ([]byte, error) {
	if a.NodeID == "" {
		return nil, errors.New("seal affiliate: no node id")
	}
	plain, err := encodeAffiliate(a).MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("seal affiliate: %w", err)
	}
	aead := newGCM(key)
	if size := NonceSize + len(plain) + aead.Overhead(); size > discovery.MaxAffiliateDataSize {
		return nil, fmt.Errorf("seal affiliate: %d bytes, the limit is %d: announce fewer addresses or networks", size, discovery.MaxAffiliateDataSize)
	}
	return aead.Seal(nonce[:], nonce[:], plain, nil), nil
}

// OpenAffiliate reverses [SealAffiliate] on untrusted data. Dropped lists the fields
// that are missing in the result because they were malformed. The error is
// [ErrUnreadable] if the data fails authentication.
func OpenAffiliate(key mesh.Secret, blob []byte) (a mesh.Affiliate, dropped []string, err error) {
	if len(blob) > discovery.MaxAffiliateDataSize {
		return mesh.Affiliate{}, nil, fmt.Errorf("data has %d bytes, the limit is %d", len(blob), discovery.MaxAffiliateDataSize)
	}
	if len(blob) < NonceSize {
		return mesh.Affiliate{}, nil, fmt.Errorf("data has %d bytes, shorter than its nonce", len(blob))
	}
	plain, err := newGCM(key).Open(nil, blob[:NonceSize], blob[NonceSize:], nil)
	if err != nil {
		return mesh.Affiliate{}, nil, ErrUnreadable
	}
	var m pb.Affiliate
	if err := m.UnmarshalVT(plain); err != nil {
		return mesh.Affiliate{}, nil, fmt.Errorf("decrypted data isn't an affiliate: %w", err)
	}
	var c cleaner
	return decodeAffiliate(&c, &m), c.report(), nil
}

func encodeAffiliate(a mesh.Affiliate) *pb.Affiliate {
	m := &pb.Affiliate{
		NodeId:          a.NodeID,
		Hostname:        a.Hostname,
		Nodename:        a.Nodename,
		OperatingSystem: a.OperatingSystem,
		MachineType:     string(mesh.MachineUnknown),
	}
	if a.MachineType == mesh.MachineWorker {
		m.MachineType = string(mesh.MachineWorker)
	}
	for _, ip := range a.Addresses {
		m.Addresses = append(m.Addresses, ip.Unmap().WithZone("").AsSlice())
	}
	if a.PublicKey.IsZero() {
		return m
	}
	m.Kubespan = &pb.KubeSpan{
		PublicKey:                  a.PublicKey.String(),
		Address:                    a.Address.AsSlice(),
		AdditionalAddresses:        encodePrefixes(a.AdditionalAddresses),
		ExcludeAdvertisedAddresses: encodePrefixes(a.ExcludeAdvertisedNetworks),
	}
	return m
}

func encodePrefixes(in []netip.Prefix) []*pb.IPPrefix {
	var out []*pb.IPPrefix
	for _, p := range in {
		out = append(out, &pb.IPPrefix{Ip: p.Addr().AsSlice(), Bits: uint32(p.Bits())})
	}
	return out
}

// decodeAffiliate does not fail: it leaves out invalid fields and counts them in c.
// Without a valid public key it leaves out the whole KubeSpan part.
func decodeAffiliate(c *cleaner, m *pb.Affiliate) mesh.Affiliate {
	a := mesh.Affiliate{
		NodeID:          m.GetNodeId(), // the caller compares it with the id that the server stores it under
		Addresses:       c.addrs(m.GetAddresses()),
		Hostname:        c.text("hostname", m.GetHostname()),
		Nodename:        c.text("nodename", m.GetNodename()),
		OperatingSystem: c.text("operating system", m.GetOperatingSystem()),
		MachineType:     machineType(m.GetMachineType()),
	}
	if cp := m.GetControlPlane(); cp != nil {
		a.ControlPlanePort = c.port("control plane port", cp.GetApiServerPort())
	}
	ks := m.GetKubespan()
	if ks == nil {
		return a
	}
	key, err := mesh.ParseKey(ks.GetPublicKey())
	if err != nil || key.IsZero() {
		c.drop("KubeSpan part (invalid public key)")
		return a
	}
	a.PublicKey = key
	a.Address = c.addr("KubeSpan address", ks.GetAddress())
	a.AdditionalAddresses = c.prefixes("additional address", ks.GetAdditionalAddresses())
	a.ExcludeAdvertisedNetworks = c.prefixes("excluded network", ks.GetExcludeAdvertisedAddresses())
	return a
}

func machineType(s string) mesh.MachineType {
	switch t := mesh.MachineType(s); t {
	case mesh.MachineInit, mesh.MachineControlPlane, mesh.MachineWorker:
		return t
	default:
		return mesh.MachineUnknown
	}
}

func newBlock(key mesh.Secret) cipher.Block {
	k := key.Reveal()
	b, err := aes.NewCipher(k[:])
	if err != nil { // only a wrong key length fails, and the type rules that out
		panic(err)
	}
	return b
}

func newGCM(key mesh.Secret) cipher.AEAD {
	g, err := cipher.NewGCM(newBlock(key))
	if err != nil { // only a wrong block size fails, and AES has the right one
		panic(err)
	}
	return g
}
