package netlink

import (
	"encoding/binary"
	"iter"
	"strings"

	"golang.org/x/sys/unix"
)

// Message is a netlink message from the kernel.
type Message struct {
	Type, Flags uint16
	Seq         uint32 // of the request that it answers
	Body        []byte
}

// Messages yields the messages of a datagram. It stops at the first malformed
// one.
func Messages(b []byte) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			n := binary.NativeEndian.Uint32(b)
			if n < unix.SizeofNlMsghdr || int64(n) > int64(len(b)) {
				return
			}
			m := Message{
				Type:  binary.NativeEndian.Uint16(b[4:]),
				Flags: binary.NativeEndian.Uint16(b[6:]),
				Seq:   binary.NativeEndian.Uint32(b[8:]),
				Body:  b[unix.SizeofNlMsghdr:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(align4(int(n)), len(b)):]
		}
	}
}

// Attributes yields the type and value of each attribute in a list: those after
// the fixed part of a message, or those in a nested attribute. It stops at the
// first malformed one.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for {
			typ, value, rest := cutAttribute(b)
			if value == nil || !yield(typ, value) {
				return
			}
			b = rest
		}
	}
}

// Attribute returns the value of the first attribute of a type in a list; nil if there is
// none.
func Attribute(list []byte, typ uint16) []byte {
	for t, value, rest := cutAttribute(list); value != nil; t, value, rest = cutAttribute(rest) {
		if t == typ {
			return value
		}
	}
	return nil
}

// attributeType covers the bits of an attribute's type that are no flags.
const attributeType = 0x3fff

// cutAttribute splits a list after its first attribute. The value is nil if the
// list has none.
func cutAttribute(b []byte) (typ uint16, value, rest []byte) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil
	}
	return binary.NativeEndian.Uint16(b[2:]) & attributeType, b[unix.SizeofNlAttr:n], b[min(align4(n), len(b)):]
}

func align4(n int) int { return (n + 3) &^ 3 }

// Text returns a string without the zero bytes that end it.
func Text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// Uint32BE reads a number in network byte order.
func Uint32BE(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Uint64BE reads a number in network byte order.
func Uint64BE(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// hostUint32 reads a number in host byte order.
func hostUint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// hostUint16 reads a number in host byte order.
func hostUint16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(b)
}

// firstByte reads a number of one byte.
func firstByte(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}
