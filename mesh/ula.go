package mesh

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
)

// Byte 7 of every ULA of Talos says what the address is for.
const (
	ulaFirstByte       = 0xfd
	ulaPurposeByte     = 7
	ulaPurposeKubeSpan = 2
	ulaBits            = 64
)

// ULA returns the /64 of a cluster's KubeSpan addresses. It depends only on the
// cluster id, which is hashed as it is written.
func ULA(clusterID string) netip.Prefix {
	digest := sha256.Sum256([]byte(clusterID))
	var a [16]byte
	copy(a[:ulaBits/8], digest[16:])
	a[0] = ulaFirstByte
	a[ulaPurposeByte] = ulaPurposeKubeSpan
	return netip.PrefixFrom(netip.AddrFrom16(a), ulaBits)
}

// IsKubeSpanULA reports whether addr looks like a KubeSpan address of any
// cluster. It compares only the first byte and the purpose.
func IsKubeSpanULA(addr netip.Addr) bool {
	if !addr.Is6() {
		return false
	}
	a := addr.As16()
	return a[0] == ulaFirstByte && a[ulaPurposeByte] == ulaPurposeKubeSpan
}

// NodeAddress returns the KubeSpan address of the node with hardware address mac:
// subnet and the modified EUI-64 of mac (RFC 4291, appendix A). mac has 6 or 8
// bytes, subnet is the /64 that [ULA] returns.
func NodeAddress(subnet netip.Prefix, mac []byte) (netip.Addr, error) {
	if !subnet.Addr().Is6() || subnet.Bits() != ulaBits {
		return netip.Addr{}, fmt.Errorf("node address in %v: not an IPv6 /%d", subnet, ulaBits)
	}
	a := subnet.Masked().Addr().As16()
	switch len(mac) {
	case 6:
		copy(a[8:], mac[:3])
		a[11], a[12] = 0xff, 0xfe
		copy(a[13:], mac[3:])
	case 8:
		copy(a[8:], mac)
	default:
		return netip.Addr{}, fmt.Errorf("node address from MAC %x: expected 6 or 8 bytes, got %d", mac, len(mac))
	}
	a[8] ^= 0x02
	return netip.AddrFrom16(a), nil
}

// DerivedAddress returns the KubeSpan address that belongs to a node id: subnet and 62
// bits of the id's SHA-256. The universal/local and the group bit of the interface
// identifier (RFC 4291 §2.5.1) are zero. Another node can't have it by chance, and to
// claim it, it would need an id with the same hash.
func DerivedAddress(subnet netip.Prefix, nodeID string) netip.Addr {
	digest := sha256.Sum256([]byte("wirespan address " + nodeID))
	a := subnet.Masked().Addr().As16()
	copy(a[ulaBits/8:], digest[:])
	a[ulaBits/8] &^= 0x03
	return netip.AddrFrom16(a)
}
