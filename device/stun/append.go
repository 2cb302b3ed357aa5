package stun

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// software is the value of SOFTWARE in requests. Its length makes a request as large as the
// largest answer to it, so that no server is an amplifier for what looks like one of ours.
const software = "wirespan            "

// AppendRequest appends a binding request.
func AppendRequest(b []byte, id ID, change Change) []byte {
	start := len(b)
	b = appendHeader(b, Request, id)
	b = appendAttribute(b, attrSoftware, []byte(software))
	if change != 0 {
		b = appendAttribute(b, attrChangeRequest, binary.BigEndian.AppendUint32(nil, uint32(change)))
	}
	return finish(b, start, true)
}

// appendAnswer appends the answer to a request.
func appendAnswer(b []byte, request *Message, from netip.AddrPort) []byte {
	start := len(b)
	if request.unknowns == 0 {
		b = appendHeader(b, Response, request.ID)
		b = appendMapped(b, &request.ID, from)
		return finish(b, start, request.fingerprint)
	}
	b = appendHeader(b, Failure, request.ID)
	b = appendAttribute(b, attrErrorCode, []byte{0, 0, 4, 20})
	var list []byte
	for _, kind := range request.unknown[:request.unknowns] {
		list = binary.BigEndian.AppendUint16(list, kind)
	}
	b = appendAttribute(b, attrUnknownAttributes, list)
	return finish(b, start, request.fingerprint)
}

func appendHeader(b []byte, t Type, id ID) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = append(b, 0, 0) // the length; see finish
	b = binary.BigEndian.AppendUint32(b, magicCookie)
	return append(b, id[:]...)
}

func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

func appendMapped(b []byte, id *ID, a netip.AddrPort) []byte {
	addr := a.Addr().Unmap()
	value := []byte{0, family6}
	if addr.Is4() {
		value[1] = family4
	}
	value = binary.BigEndian.AppendUint16(value, a.Port()^magicCookie>>16)
	mask := AddressMask(id)
	for i, c := range addr.AsSlice() {
		value = append(value, c^mask[i])
	}
	return appendAttribute(b, attrXORMappedAddress, value)
}

// finish sets the length of the message that begins at start, and adds the fingerprint.
func finish(b []byte, start int, fingerprint bool) []byte {
	size := len(b) - start - headerSize
	if !fingerprint {
		binary.BigEndian.PutUint16(b[start+2:], uint16(size))
		return b
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(size+fingerprintSize))
	sum := crc32.ChecksumIEEE(b[start:]) ^ fingerprintXOR
	return appendAttribute(b, attrFingerprint, binary.BigEndian.AppendUint32(nil, sum))
}
