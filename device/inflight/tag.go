package inflight

import (
	"encoding/binary"

	wireguard "golang.zx2c4.com/wireguard/device"
)

const (
	headerSize    = wireguard.MessageTransportHeaderSize // in front of each encrypted packet
	encryptedSize = wireguard.MessageTransportSize       // that header and the authentication tag
)

// tag says which packet of which flow this is. It travels through the device in
// the packet's own buffer, so that a packet which leaves is known again without a
// look-up.
type tag struct {
	slot uint32 // index of the flow's slot
	seq  uint32 // sequence number in that slot
}

// noTag is the tag of a packet that does not count.
var noTag = tag{slot: numSlots}

const tagSize = 8

// tagSpace returns where the tag of a packet with content of n bytes lies in its
// buffer, or nil if the buffer has no room for it.
//
// The device encrypts and decrypts in place. The tag lies in the first cache line
// that neither form of the packet reaches: at 64 plus n rounded up to 64. Padding
// rounds n up to 16, so the plain and the encrypted packet give the same place.
// There is no room for the tags of packets above 65,408 bytes.
func tagSpace(buf []byte, n int) []byte {
	at := (n+63)&^63 + 64
	if at+tagSize > cap(buf) {
		return nil
	}
	return buf[at : at+tagSize : at+tagSize]
}

func (t tag) put(space []byte) {
	binary.NativeEndian.PutUint32(space, t.slot)
	binary.NativeEndian.PutUint32(space[4:], t.seq)
}

// readTag returns the tag in a space that tagSpace returned, and noTag for nil.
func readTag(space []byte) tag {
	if space == nil {
		return noTag
	}
	return tag{binary.NativeEndian.Uint32(space), binary.NativeEndian.Uint32(space[4:])}
}
