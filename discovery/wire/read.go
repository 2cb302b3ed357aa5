package wire

import (
	"encoding/binary"
	"errors"
	"math"
)

// Number is that of a field.
type Number int32

const (
	maxNumber Number = 1<<29 - 1
	maxGroups        = 10_000 // in one another, as protobuf has it
)

// Type is how the value of a field is encoded.
type Type uint8

// The types of fields.
const (
	Varint  Type = 0
	Fixed64 Type = 1
	Bytes   Type = 2 // a length, and so many bytes

	groupStart Type = 3
	groupEnd   Type = 4
	fixed32    Type = 5
)

// ErrMalformed reports a message that is not in protobuf's encoding, or a field with
// another type than it must have.
var ErrMalformed = errors.New("malformed protobuf message")

// Fields steps through the fields of a message. Use [Read]:
//
//	f := wire.Read(message)
//	for f.Next() {
//		switch f.Number {
//		case 1:
//			name = f.Bytes()
//		}
//	}
//	return f.Err()
type Fields struct {
	Number Number // of the current field
	Type   Type   // of the current field

	rest   []byte
	value  []byte
	number uint64
	failed bool
}

// Read returns the fields of a message, which must not be modified meanwhile.
func Read(message []byte) Fields { return Fields{rest: message} }

// Next goes to the next field. It returns false at the end, and at an error.
func (f *Fields) Next() bool {
	if f.failed || len(f.rest) == 0 {
		return false
	}
	number, kind, n := Tag(f.rest)
	if n == 0 || number > maxNumber || !f.take(number, kind, f.rest[n:]) {
		f.failed = true
		return false
	}
	return true
}

// take reads the value of a field.
func (f *Fields) take(number Number, kind Type, b []byte) bool {
	f.Number, f.Type = number, kind
	n := 0
	switch kind {
	case Bytes:
		f.value, n = sized(b)
	case Varint:
		f.number, n = binary.Uvarint(b)
	case Fixed64:
		if n = 8; len(b) >= n {
			f.number = binary.LittleEndian.Uint64(b)
		}
	case fixed32:
		n = 4
	case groupStart:
		n = group(number, b)
	}
	if n <= 0 || n > len(b) {
		return false
	}
	f.rest = b[n:]
	return true
}

// Tag reads the number and the type of a field, and returns how long they are: 0 if they
// are malformed.
func Tag(b []byte) (Number, Type, int) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v>>3 == 0 || v>>3 > math.MaxInt32 {
		return 0, 0, 0
	}
	return Number(v >> 3), Type(v & 7), n
}

// sized reads a length and so many bytes, and returns how long both are: 0 if there are
// fewer bytes.
func sized(b []byte) ([]byte, int) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, 0
	}
	end := n + int(size)
	return b[n:end:end], end
}

// group returns the length of a group, which is skipped: 0 if it is malformed.
func group(number Number, b []byte) int {
	inside := []Number{number}
	in := Fields{rest: b}
	for len(inside) > 0 {
		number, kind, n := Tag(in.rest)
		last := len(inside) - 1
		switch {
		case n == 0 || kind == groupEnd && number != inside[last] || len(inside) > maxGroups:
			return 0
		case kind == groupStart:
			inside, in.rest = append(inside, number), in.rest[n:]
		case kind == groupEnd:
			inside, in.rest = inside[:last], in.rest[n:]
		case !in.take(number, kind, in.rest[n:]):
			return 0
		}
	}
	return len(b) - len(in.rest)
}

// Bytes returns the value of a string, of bytes or of a message. It is part of the message
// that is read.
func (f *Fields) Bytes() []byte {
	if f.Type != Bytes {
		f.failed = true
		return nil
	}
	return f.value
}

// Uint returns the value of a varint.
func (f *Fields) Uint() uint64 {
	if f.Type != Varint {
		f.failed = true
		return 0
	}
	return f.number
}

// Fixed64 returns the value of a fixed64.
func (f *Fields) Fixed64() uint64 {
	if f.Type != Fixed64 {
		f.failed = true
		return 0
	}
	return f.number
}

// Last reports whether nothing comes after the current field.
func (f *Fields) Last() bool { return len(f.rest) == 0 }

// Err returns nil or [ErrMalformed].
func (f *Fields) Err() error {
	if f.failed {
		return ErrMalformed
	}
	return nil
}
