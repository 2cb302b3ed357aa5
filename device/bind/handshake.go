package bind

import (
	"encoding/binary"

	"github.com/wirespan/wirespan/mesh"
)

// notifyHandshakes notifies s if one of the messages in bufs belongs to a handshake.
func notifyHandshakes(s mesh.Signal, bufs [][]byte, sizes []int) {
	for i, n := range sizes {
		if isHandshake(bufs[i][:n]) {
			s.Notify()
			return
		}
	}
}

// isHandshake reports whether a message is an initiation (148 bytes), a response
// (92) or a cookie reply (64). The first word is the message's type, little endian.
func isHandshake(msg []byte) bool {
	switch len(msg) {
	case 148:
		return binary.LittleEndian.Uint32(msg) == 1
	case 92:
		return binary.LittleEndian.Uint32(msg) == 2
	case 64:
		return binary.LittleEndian.Uint32(msg) == 3
	}
	return false
}
