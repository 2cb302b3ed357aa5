package stun

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// Sizes in bytes.
const (
	headerSize      = 20
	attributeSize   = 4 // of an attribute's header
	fingerprintSize = attributeSize + 4
	// maxSize is the size of the largest message that is read: one that no link fragments.
	maxSize = 1232
)

const (
	magicCookie    = 0x2112a442
	fingerprintXOR = 0x5354554e
)

// Type is the class of a message of the method Binding.
type Type uint16

// Classes of messages. Indications are not used.
const (
	Request  Type = 0x0001
	Response Type = 0x0101
	Failure  Type = 0x0111
)

// Attributes. Those below 0x8000 must be understood by whoever receives them.
const (
	attrMappedAddress     = 0x0001
	attrChangeRequest     = 0x0003
	attrSourceAddress     = 0x0004 // of RFC 3489
	attrChangedAddress    = 0x0005 // of RFC 3489
	attrIntegrity         = 0x0008
	attrErrorCode         = 0x0009
	attrUnknownAttributes = 0x000a
	attrIntegrity256      = 0x001c
	attrXORMappedAddress  = 0x0020
	attrSoftware          = 0x8022
	attrFingerprint       = 0x8028
	attrOtherAddress      = 0x802c
	attrOptional          = 0x8000
)

// Change asks a server to answer from another address (RFC 5780).
type Change uint32

// What may be changed.
const (
	ChangeIP   Change = 4
	ChangePort Change = 2
)

// ID identifies a transaction. It is random.
type ID [12]byte

// Message is a binding message.
type Message struct {
	Type   Type
	ID     ID
	Mapped netip.AddrPort // of a response: where the request came from
	Other  netip.AddrPort // of a response: the server's other address and port; zero: it has none
	Change Change         // of a request
	Code   int            // of a failure

	unknown     [maxUnknown]uint16 // of a request: attributes that must be understood and are not
	unknowns    int
	fingerprint bool
}

// maxUnknown is how many unknown attributes are told of.
const maxUnknown = 4

var errMalformed = errors.New("malformed STUN message")

// Is reports whether a datagram looks like a STUN message. No packet of WireGuard does.
func Is(b []byte) bool {
	return len(b) >= headerSize && len(b) <= maxSize && b[0]>>6 == 0 && binary.BigEndian.Uint32(b[4:]) == magicCookie &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-headerSize && len(b)%4 == 0
}

// IDOf returns the transaction id of a datagram for which [Is] is true.
func IDOf(b []byte) ID { return ID(b[8:headerSize]) }

// IsRequest reports whether a datagram for which [Is] is true is a binding request.
func IsRequest(b []byte) bool { return Type(binary.BigEndian.Uint16(b)) == Request }

// Parse decodes a message. A response is one with a mapped address.
func Parse(b []byte) (Message, error) {
	if !Is(b) {
		return Message{}, errMalformed
	}
	m := Message{Type: Type(binary.BigEndian.Uint16(b)), ID: IDOf(b)}
	if m.Type != Request && m.Type != Response && m.Type != Failure {
		return Message{}, errMalformed
	}
	for rest := b[headerSize:]; len(rest) > 0; {
		if len(rest) < attributeSize || m.fingerprint {
			return Message{}, errMalformed
		}
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := attributeSize + (size+3)&^3
		if padded > len(rest) {
			return Message{}, errMalformed
		}
		value := rest[attributeSize : attributeSize+size]
		if kind == attrFingerprint && !validFingerprint(b, len(b)-len(rest), value) || !m.read(kind, value) {
			return Message{}, errMalformed
		}
		rest = rest[padded:]
	}
	if m.Type == Response && (!m.Mapped.IsValid() || m.Mapped.Port() == 0) || m.Type == Failure && m.Code == 0 || m.Type != Request && m.unknowns > 0 {
		return Message{}, errMalformed
	}
	return m, nil
}

// read takes an attribute, and reports whether it is well formed. Of two of a kind, the
// first counts.
func (m *Message) read(kind uint16, value []byte) (ok bool) {
	switch kind {
	case attrXORMappedAddress:
		return ReadAddress(&m.Mapped, value, &m.ID)
	case attrOtherAddress:
		return ReadAddress(&m.Other, value, nil)
	case attrChangeRequest:
		if len(value) != 4 {
			return false
		}
		m.Change = Change(binary.BigEndian.Uint32(value)) & (ChangeIP | ChangePort)
		m.note(kind) // only a server with two addresses could do that
	case attrErrorCode:
		if len(value) < 4 {
			return false
		}
		m.Code = int(value[2]&7)*100 + int(value[3])
	case attrFingerprint:
		m.fingerprint = true
	case attrMappedAddress, attrSourceAddress, attrChangedAddress, attrUnknownAttributes, attrIntegrity, attrIntegrity256:
	default:
		if kind < attrOptional {
			m.note(kind)
		}
	}
	return true
}

func (m *Message) note(unknown uint16) {
	if m.unknowns < maxUnknown {
		m.unknown[m.unknowns] = unknown
		m.unknowns++
	}
}

// validFingerprint reports whether the attribute at an offset is the right fingerprint.
func validFingerprint(b []byte, at int, value []byte) bool {
	return len(value) == 4 && binary.BigEndian.Uint32(value) == crc32.ChecksumIEEE(b[:at])^fingerprintXOR
}

// Families of addresses.
const (
	family4 = 1
	family6 = 2
)

// ReadAddress decodes the value of an attribute with an address, which is masked if there is an
// id, and reports whether it is well-formed. Of several addresses the first stays.
func ReadAddress(into *netip.AddrPort, value []byte, mask *ID) bool {
	if len(value) < 4 {
		return false
	}
	var xor [16]byte
	port := binary.BigEndian.Uint16(value[2:])
	if mask != nil {
		xor = AddressMask(mask)
		port ^= magicCookie >> 16
	}
	var addr [16]byte
	n := copy(addr[:], value[4:])
	for i := range n {
		addr[i] ^= xor[i]
	}
	if into.IsValid() {
		return true
	}
	switch {
	case value[1] == family4 && len(value) == 8:
		*into = netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[:4])), port)
	case value[1] == family6 && len(value) == 20:
		*into = netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), port)
	default:
		return false
	}
	return true
}

// AddressMask returns what masks addresses: the cookie and the transaction's id (RFC 8489 §14.2).
func AddressMask(id *ID) (mask [16]byte) {
	binary.BigEndian.PutUint32(mask[:], magicCookie)
	copy(mask[4:], id[:])
	return mask
}
