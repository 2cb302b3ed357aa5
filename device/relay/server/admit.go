package server

import (
	"crypto/subtle"
	"encoding/binary"

	"golang.org/x/crypto/blake2s"

	"github.com/wirespan/wirespan/mesh"
)

// WireGuard's initiation of a handshake: its type, its size, and the two MACs at its end.
const (
	initiationType = 1
	initiationSize = 148
	macSize        = blake2s.Size128
)

// macKey returns the key of the first MAC of messages to the owner of a public key.
func macKey(to mesh.Key) [blake2s.Size]byte {
	return blake2s.Sum256(append([]byte("mac1----"), to[:]...))
}

// isInitiation reports whether a datagram is an initiation to the owner of a MAC key.
func isInitiation(b []byte, key *[blake2s.Size]byte) bool {
	if len(b) != initiationSize || binary.LittleEndian.Uint32(b) != initiationType {
		return false
	}
	mac, err := blake2s.New128(key[:])
	if err != nil { // the key has a valid size
		return false
	}
	signed := initiationSize - 2*macSize
	mac.Write(b[:signed])
	return subtle.ConstantTimeCompare(mac.Sum(nil), b[signed:][:macSize]) == 1
}
