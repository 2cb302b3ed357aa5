package nft

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// encoder appends netlink messages and attributes to one buffer. What is called
// most is not inlined: that would make the binary 50 KB larger for nothing.
type encoder struct{ b []byte }

// message starts a message; end, called with what it returns, finishes it.
//
//go:noinline
func (e *encoder) message(typ, flags uint16, seq uint32) int {
	at := len(e.b)
	e.b = append(e.b, 0, 0, 0, 0)
	e.b = binary.NativeEndian.AppendUint16(e.b, typ)
	e.b = binary.NativeEndian.AppendUint16(e.b, unix.NLM_F_REQUEST|flags)
	e.b = binary.NativeEndian.AppendUint32(e.b, seq)
	e.b = append(e.b, 0, 0, 0, 0)
	return at
}

//go:noinline
func (e *encoder) end(at int) {
	binary.NativeEndian.PutUint32(e.b[at:], uint32(len(e.b)-at))
}

// nest starts an attribute made of attributes; endNest finishes it.
//
//go:noinline
func (e *encoder) nest(typ uint16) int {
	at := len(e.b)
	e.b = append(e.b, 0, 0)
	e.b = binary.NativeEndian.AppendUint16(e.b, typ|unix.NLA_F_NESTED)
	return at
}

//go:noinline
func (e *encoder) endNest(at int) {
	binary.NativeEndian.PutUint16(e.b[at:], uint16(len(e.b)-at))
}

//go:noinline
func (e *encoder) bytes(typ uint16, data []byte) {
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(unix.SizeofNlAttr+len(data)))
	e.b = binary.NativeEndian.AppendUint16(e.b, typ)
	e.b = append(e.b, data...)
	for len(e.b)%unix.NLA_ALIGNTO != 0 {
		e.b = append(e.b, 0)
	}
}

// str is a string with the zero byte that netfilter and links want.
//
//go:noinline
func (e *encoder) str(typ uint16, s string) {
	e.bytes(typ, append([]byte(s), 0))
}

// be32 is a number as netfilter wants it.
//
//go:noinline
func (e *encoder) be32(typ uint16, v uint32) {
	e.bytes(typ, binary.BigEndian.AppendUint32(nil, v))
}

// ne32 is a number as rtnetlink wants it.
//
//go:noinline
func (e *encoder) ne32(typ uint16, v uint32) {
	e.bytes(typ, binary.NativeEndian.AppendUint32(nil, v))
}

// attributes are those of a message after its fixed part, or of a nest. They
// end at the first malformed one.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for {
			typ, value, rest := cut(b)
			if value == nil || !yield(typ, value) {
				return
			}
			b = rest
		}
	}
}

// cut takes the first attribute off; its value is nil if there is none.
func cut(b []byte) (typ uint16, value, rest []byte) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil
	}
	return binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask, b[unix.SizeofNlAttr:n], b[min(align4(n), len(b)):]
}

func align4(n int) int { return (n + 3) &^ 3 }

// Readers of attributes: what is too short counts as zero.

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func be64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func ne32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func putHost32(b []byte, v uint32) { binary.NativeEndian.PutUint32(b, v) }

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// lsb is a number of one byte.
func lsb(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// element is half an interval of a set.
//
//go:noinline
func (e *encoder) element(key netip.Addr, end bool) {
	at := e.nest(unix.NFTA_LIST_ELEM)
	if end {
		e.be32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	value := e.nest(unix.NFTA_SET_ELEM_KEY)
	if key.Is4() {
		a := key.As4()
		e.bytes(unix.NFTA_DATA_VALUE, a[:])
	} else {
		a := key.As16()
		e.bytes(unix.NFTA_DATA_VALUE, a[:])
	}
	e.endNest(value)
	e.endNest(at)
}
