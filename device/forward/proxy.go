package forward

import (
	"encoding/binary"
	"net/netip"
)

// Parts of a header of the PROXY protocol, version 2.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyLocal     = 0x20 // version 2, command LOCAL: no addresses
	proxyProxy     = 0x21 // version 2, command PROXY
	proxyUnspec    = 0x00
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
)

// proxyHeader returns the header that tells a target who connected to which address. IPv4
// addresses that are mapped into IPv6 count as IPv4. If only one of the addresses is IPv4,
// it is mapped. Without valid addresses the header says that there are none.
func proxyHeader(source, destination netip.AddrPort) []byte {
	from, to := source.Addr().Unmap(), destination.Addr().Unmap()
	b := append(make([]byte, 0, len(proxySignature)+4+36), proxySignature...)
	var addresses []byte
	switch {
	case !from.IsValid() || !to.IsValid():
		return append(b, proxyLocal, proxyUnspec, 0, 0)
	case from.Is4() && to.Is4():
		b = append(b, proxyProxy, proxyTCP4)
		addresses = append(from.AsSlice(), to.AsSlice()...)
	default:
		b = append(b, proxyProxy, proxyTCP6)
		from16, to16 := from.As16(), to.As16()
		addresses = append(from16[:], to16[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(addresses)+4))
	b = append(b, addresses...)
	b = binary.BigEndian.AppendUint16(b, source.Port())
	return binary.BigEndian.AppendUint16(b, destination.Port())
}
