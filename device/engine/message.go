package engine

import (
	"encoding/binary"

	"golang.org/x/crypto/blake2s"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
)

// labelMAC1 is WireGuard's label of the key of a message's first MAC.
const labelMAC1 = "mac1----"

// macSize is the size of each of the two MACs at the end of a handshake message.
const macSize = blake2s.Size128

// macKey returns the key of the first MAC of messages to the owner of a public key.
func macKey(to mesh.Key) [blake2s.Size]byte {
	return blake2s.Sum256(append([]byte(labelMAC1), to[:]...))
}

// isFor reports whether a handshake message is for the owner of a MAC key.
func isFor(msg []byte, key *[blake2s.Size]byte) bool {
	mac, err := blake2s.New128(key[:])
	if err != nil { // the key has a valid size
		return false
	}
	signed := len(msg) - 2*macSize
	mac.Write(msg[:signed])
	var sum [macSize]byte
	return [macSize]byte(mac.Sum(sum[:0])) == [macSize]byte(msg[signed:])
}

// messageType returns the type of a message that has the size of that type; 0 for others.
func messageType(b []byte) uint32 {
	if len(b) < wireguard.MinMessageSize {
		return 0
	}
	t := binary.LittleEndian.Uint32(b)
	switch {
	case t == wireguard.MessageTransportType && len(b) >= wireguard.MessageTransportSize,
		t == wireguard.MessageInitiationType && len(b) == wireguard.MessageInitiationSize,
		t == wireguard.MessageResponseType && len(b) == wireguard.MessageResponseSize,
		t == wireguard.MessageCookieReplyType && len(b) == wireguard.MessageCookieReplySize:
		return t
	}
	return 0
}

// Initiations and responses begin with type and sender. A response goes on with the
// receiver, with which packets and cookie replies begin.

func senderOf(msg []byte) uint32   { return binary.LittleEndian.Uint32(msg[4:]) }
func receiverOf(msg []byte) uint32 { return binary.LittleEndian.Uint32(msg[4:]) }

func receiverOfResponse(msg []byte) uint32 { return binary.LittleEndian.Uint32(msg[8:]) }
