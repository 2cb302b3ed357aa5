package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Encoder appends netlink messages and attributes to one buffer. Its methods are
// not inlined: they have many callers, and inlining them would make the binary
// 50 KB larger without a measurable gain.
type Encoder struct{ b []byte }

// begin starts a message. It returns the offset that End needs.
//
//go:noinline
func (e *Encoder) begin(typ, flags uint16, seq uint32) int {
	at := len(e.b)
	e.b = append(e.b, 0, 0, 0, 0)
	e.b = binary.NativeEndian.AppendUint16(e.b, typ)
	e.b = binary.NativeEndian.AppendUint16(e.b, unix.NLM_F_REQUEST|flags)
	e.b = binary.NativeEndian.AppendUint32(e.b, seq)
	e.b = append(e.b, 0, 0, 0, 0)
	return at
}

// End finishes the message that starts at an offset.
//
//go:noinline
func (e *Encoder) End(at int) {
	binary.NativeEndian.PutUint32(e.b[at:], uint32(len(e.b)-at))
}

// Nest starts an attribute that contains attributes. It returns the offset that
// EndNest needs.
//
//go:noinline
func (e *Encoder) Nest(typ uint16) int {
	at := len(e.b)
	e.b = append(e.b, 0, 0)
	e.b = binary.NativeEndian.AppendUint16(e.b, typ|unix.NLA_F_NESTED)
	return at
}

// EndNest finishes the attribute that starts at an offset.
//
//go:noinline
func (e *Encoder) EndNest(at int) {
	binary.NativeEndian.PutUint16(e.b[at:], uint16(len(e.b)-at))
}

// Bytes appends an attribute of raw bytes.
//
//go:noinline
func (e *Encoder) Bytes(typ uint16, data []byte) {
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(unix.SizeofNlAttr+len(data)))
	e.b = binary.NativeEndian.AppendUint16(e.b, typ)
	e.b = append(e.b, data...)
	for len(e.b)%unix.NLA_ALIGNTO != 0 {
		e.b = append(e.b, 0)
	}
}

// Text appends a string and the zero byte that ends it.
//
//go:noinline
func (e *Encoder) Text(typ uint16, s string) {
	e.Bytes(typ, append([]byte(s), 0))
}

// Uint32BE appends a number in network byte order, as nftables wants it.
//
//go:noinline
func (e *Encoder) Uint32BE(typ uint16, v uint32) {
	e.Bytes(typ, binary.BigEndian.AppendUint32(nil, v))
}

// Uint32 appends a number in host byte order, as rtnetlink wants it.
//
//go:noinline
func (e *Encoder) Uint32(typ uint16, v uint32) {
	e.Bytes(typ, binary.NativeEndian.AppendUint32(nil, v))
}

// putUint32 overwrites a number in host byte order.
func putUint32(b []byte, v uint32) { binary.NativeEndian.PutUint32(b, v) }
