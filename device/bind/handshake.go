package bind

import "encoding/binary"

// signal tells, coalesced, of handshake messages that came in.
type signal chan struct{}

// look raises the signal if one of the messages in bufs belongs to a handshake.
func (s signal) look(bufs [][]byte, sizes []int) {
	for i, n := range sizes {
		if isHandshake(bufs[i][:n]) {
			select {
			case s <- struct{}{}:
			default:
			}
			return
		}
	}
}

// isHandshake tells initiation (148 bytes), response (92) and cookie reply (64)
// from transport data; the first word is the message type, little endian.
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
