package codec

import (
	"crypto/aes"
	"fmt"
	"net/netip"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// SealEndpoint encrypts an endpoint. It is deterministic; the result has 16 bytes for
// IPv4 and 32 for IPv6. An IPv4-mapped address becomes IPv4.
func SealEndpoint(key mesh.Secret, ap netip.AddrPort) ([]byte, error) {
	ip := ap.Addr().Unmap()
	if err := checkEndpoint(netip.AddrPortFrom(ip, ap.Port())); err != nil {
		return nil, fmt.Errorf("seal endpoint: %w", err)
	}
	plain := appendPair(make([]byte, 0, discovery.MaxEndpointSize), ip, portField, uint32(ap.Port()))
	// One length byte, the message, and zeros up to whole blocks.
	blocks := (1 + len(plain) + aes.BlockSize - 1) / aes.BlockSize
	out := make([]byte, blocks*aes.BlockSize)
	out[0] = byte(len(plain))
	copy(out[1:], plain)
	b := newBlock(key)
	for i := 0; i < len(out); i += aes.BlockSize {
		b.Encrypt(out[i:], out[i:])
	}
	return out, nil
}

// OpenEndpoint reverses [SealEndpoint] on untrusted data. Data that was sealed with
// another secret almost always fails to parse, but nothing detects it reliably.
func OpenEndpoint(key mesh.Secret, blob []byte) (ap netip.AddrPort, err error) {
	if len(blob) == 0 || len(blob) > discovery.MaxEndpointSize || len(blob)%aes.BlockSize != 0 {
		return ap, fmt.Errorf("sealed endpoint has %d bytes, not 16 or 32", len(blob))
	}
	plain := make([]byte, len(blob))
	b := newBlock(key)
	for i := 0; i < len(blob); i += aes.BlockSize {
		b.Decrypt(plain[i:], blob[i:])
	}
	n := int(plain[0])
	if n > len(plain)-1 {
		return ap, fmt.Errorf("endpoint claims %d bytes of %d", n, len(plain)-1)
	}
	address, port, err := decodePair(plain[1:1+n], portField)
	if err != nil {
		return ap, fmt.Errorf("decrypted data isn't an endpoint: %w", err)
	}
	if port > 65535 {
		return ap, fmt.Errorf("endpoint port %d is out of range", port)
	}
	ip, err := ParseAddr(address)
	if err != nil {
		return ap, fmt.Errorf("endpoint: %w", err)
	}
	ap = netip.AddrPortFrom(ip, uint16(port))
	return ap, checkEndpoint(ap)
}

// checkEndpoint returns an error for an endpoint to which no datagram can be sent.
func checkEndpoint(ap netip.AddrPort) error {
	ip := ap.Addr()
	switch {
	case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip == broadcast:
		return fmt.Errorf("endpoint %v: not a unicast address", ap)
	case ip.Zone() != "":
		return fmt.Errorf("endpoint %v: a zone has no meaning on other hosts", ap)
	case ap.Port() == 0:
		return fmt.Errorf("endpoint %v: port is zero", ap)
	}
	return nil
}
