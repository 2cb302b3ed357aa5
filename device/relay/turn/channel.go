package turn

import "encoding/binary"

// Channel numbers that are given out (RFC 8656, section 12). Clients of RFC 5766 use those up to
// 0x7fff, too, which are read.
const (
	MinChannel = 0x4000
	MaxChannel = 0x4fff
)

// ChannelHeader is the size of what precedes the data of a channel.
const ChannelHeader = 4

// IsChannel reports whether a datagram begins like channel data. A packet of WireGuard never
// does: it begins with a byte below 5.
func IsChannel(b []byte) bool { return len(b) >= ChannelHeader && b[0]>>6 == MinChannel>>14 }

// ParseChannel returns the channel and the data of a datagram; false if it is no channel data.
func ParseChannel(b []byte) (number uint16, data []byte, ok bool) {
	if !IsChannel(b) {
		return 0, nil, false
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size > len(b)-ChannelHeader {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[ChannelHeader:][:size], true
}

// PutChannelHeader writes the header of data of a size.
func PutChannelHeader(b []byte, number uint16, size int) {
	binary.BigEndian.PutUint16(b, number)
	binary.BigEndian.PutUint16(b[2:], uint16(size))
}

// AppendChannel appends channel data. In a stream it is padded to a multiple of 4 bytes.
func AppendChannel(b []byte, number uint16, data []byte, stream bool) []byte {
	b = binary.BigEndian.AppendUint16(b, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	b = append(b, data...)
	if stream {
		var zero [3]byte
		b = append(b, zero[:-len(data)&3]...)
	}
	return b
}
