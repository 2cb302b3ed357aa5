package turn

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/wirespan/wirespan/device/stun"
)

// Sizes in bytes.
const (
	headerSize    = 20
	attributeSize = 4 // of an attribute's header
	integritySize = attributeSize + sha1.Size
	// MaxMessage is the size of the largest message, and of the largest frame of channel data,
	// that is read.
	MaxMessage = 2048
	// maxText is the size of the longest user name, realm or nonce that is read; RFC 8489 has
	// 763 bytes for each.
	maxText = 763
)

const magicCookie = 0x2112a442

// Methods.
const (
	Binding          = 0x001
	Allocate         = 0x003
	Refresh          = 0x004
	Send             = 0x006
	Data             = 0x007
	CreatePermission = 0x008
	ChannelBind      = 0x009
)

// Classes of messages.
const (
	Request    = 0x000
	Indication = 0x010
	Success    = 0x100
	Failure    = 0x110
)

// Error codes that are acted upon.
const (
	CodeBadRequest       = 400
	CodeUnauthorized     = 401
	CodeForbidden        = 403
	CodeMismatch         = 437 // there is an allocation already, or none
	CodeStaleNonce       = 438
	CodeWrongCredentials = 441
	CodeQuota            = 486
	CodeCapacity         = 508
)

const (
	attrUsername  = 0x0006
	attrIntegrity = 0x0008
	attrErrorCode = 0x0009
	attrChannel   = 0x000c
	attrLifetime  = 0x000d
	attrPeer      = 0x0012
	attrData      = 0x0013
	attrRealm     = 0x0014
	attrNonce     = 0x0015
	attrRelayed   = 0x0016
	attrFamily    = 0x0017
	attrTransport = 0x0019
	attrMapped    = 0x0020
	attrSoftware  = 0x8022
	// attrTime is our own, among those that others skip: the server's time, in seconds since
	// 1970, 4 bytes.
	attrTime = 0xc7d1
)

// ID identifies a transaction. It is random.
type ID = stun.ID

// Message is a message of TURN. Of attributes that come twice, the first counts.
type Message struct {
	Method, Class int
	ID            ID

	Code     int // of a failure
	Lifetime int // in seconds; -1: none
	Channel  uint16
	Peer     netip.AddrPort
	Relayed  netip.AddrPort
	Mapped   netip.AddrPort
	Data     []byte
	HasData  bool
	Realm    []byte
	Nonce    []byte
	Time     int64 // of the server, in seconds since 1970; 0: it does not say

	raw       []byte
	integrity int // where MESSAGE-INTEGRITY begins; 0: there is none
}

var errMalformed = errors.New("malformed TURN message")

// Is reports whether a datagram looks like a message. Neither channel data nor a packet of
// WireGuard does.
func Is(b []byte) bool {
	return len(b) >= headerSize && len(b) <= MaxMessage && b[0]>>6 == 0 && binary.BigEndian.Uint32(b[4:]) == magicCookie &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-headerSize && len(b)%4 == 0
}

// Kind returns the method and the class of a datagram for which [Is] is true.
func Kind(b []byte) (method, class int) {
	t := int(binary.BigEndian.Uint16(b))
	return t&0x000f | t&0x00e0>>1 | t&0x3e00>>2, t & 0x0110
}

func typeOf(method, class int) uint16 {
	return uint16(method&0x00f | method&0x070<<1 | method&0xf80<<2 | class)
}

// Parse decodes a message. Attributes that it does not know it skips.
func Parse(m *Message, b []byte) error {
	if !Is(b) {
		return errMalformed
	}
	*m = Message{ID: ID(b[8:headerSize]), Lifetime: -1, raw: b}
	m.Method, m.Class = Kind(b)
	for rest := b[headerSize:]; len(rest) > 0; {
		if len(rest) < attributeSize {
			return errMalformed
		}
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := attributeSize + (size+3)&^3
		if padded > len(rest) {
			return errMalformed
		}
		if m.integrity == 0 && !m.read(kind, rest[attributeSize:attributeSize+size], len(b)-len(rest)) {
			return errMalformed
		}
		rest = rest[padded:]
	}
	return nil
}

// read takes an attribute, and reports whether it is well formed. What follows the integrity is
// not protected by it, and is skipped.
func (m *Message) read(kind uint16, value []byte, at int) (ok bool) {
	switch kind {
	case attrIntegrity:
		m.integrity = at
		return len(value) == sha1.Size
	case attrErrorCode:
		if len(value) < 4 {
			return false
		}
		if m.Code == 0 {
			m.Code = int(value[2]&7)*100 + int(value[3])
		}
	case attrChannel:
		if len(value) != 4 {
			return false
		}
		if m.Channel == 0 {
			m.Channel = binary.BigEndian.Uint16(value)
		}
	case attrLifetime:
		if len(value) != 4 {
			return false
		}
		if m.Lifetime < 0 {
			m.Lifetime = int(min(binary.BigEndian.Uint32(value), 1<<30))
		}
	case attrPeer:
		return stun.ReadAddress(&m.Peer, value, &m.ID)
	case attrRelayed:
		return stun.ReadAddress(&m.Relayed, value, &m.ID)
	case attrMapped:
		return stun.ReadAddress(&m.Mapped, value, &m.ID)
	case attrData:
		if !m.HasData {
			m.Data, m.HasData = value, true
		}
	case attrRealm:
		return readText(&m.Realm, value)
	case attrNonce:
		return readText(&m.Nonce, value)
	case attrTime:
		if len(value) == 4 && m.Time == 0 { // else it is another one's attribute
			m.Time = int64(binary.BigEndian.Uint32(value))
		}
	}
	return true
}

func readText(into *[]byte, value []byte) bool {
	if len(value) > maxText {
		return false
	}
	if *into == nil {
		*into = value
	}
	return true
}

// Protected reports whether the message has a MESSAGE-INTEGRITY.
func (m *Message) Protected() bool { return m.integrity > 0 }

// Authentic reports whether the message is protected by a key of [Key].
func (m *Message) Authentic(key []byte) bool {
	if m.integrity == 0 {
		return false
	}
	return hmac.Equal(sign(key, m.raw[:m.integrity]), m.raw[m.integrity+attributeSize:][:sha1.Size])
}

// sign returns the MESSAGE-INTEGRITY of the beginning of a message. The length in the header is
// as if the attribute were the last one.
func sign(key, b []byte) []byte {
	mac := hmac.New(sha1.New, key)
	mac.Write(b[:2])
	mac.Write(binary.BigEndian.AppendUint16(nil, uint16(len(b)-headerSize+integritySize)))
	mac.Write(b[4:])
	return mac.Sum(nil)
}

// Families of addresses.
const (
	Family4 = 1
	Family6 = 2
)

// ForServer reports whether a datagram is channel data, or a message of a TURN client other than
// a binding request. No message of WireGuard is either.
func ForServer(b []byte) bool {
	if IsChannel(b) {
		return true
	}
	if !Is(b) {
		return false
	}
	method, class := Kind(b)
	return method != Binding && (class == Request || class == Indication)
}
