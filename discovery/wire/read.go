package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
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
	Number protowire.Number // of the current field
	Type   protowire.Type   // of the current field

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
	number, kind, n := protowire.ConsumeTag(f.rest)
	if n < 0 || number > protowire.MaxValidNumber {
		f.failed = true
		return false
	}
	f.Number, f.Type, f.rest = number, kind, f.rest[n:]
	switch kind {
	case protowire.BytesType:
		f.value, n = protowire.ConsumeBytes(f.rest)
	case protowire.VarintType:
		f.number, n = protowire.ConsumeVarint(f.rest)
	case protowire.Fixed64Type:
		f.number, n = protowire.ConsumeFixed64(f.rest)
	default:
		n = protowire.ConsumeFieldValue(number, kind, f.rest)
	}
	if n < 0 {
		f.failed = true
		return false
	}
	f.rest = f.rest[n:]
	return true
}

// Bytes returns the value of a string, of bytes or of a message. It is part of the message
// that is read.
func (f *Fields) Bytes() []byte {
	if f.Type != protowire.BytesType {
		f.failed = true
		return nil
	}
	return f.value
}

// Uint returns the value of a varint.
func (f *Fields) Uint() uint64 {
	if f.Type != protowire.VarintType {
		f.failed = true
		return 0
	}
	return f.number
}

// Fixed64 returns the value of a fixed64.
func (f *Fields) Fixed64() uint64 {
	if f.Type != protowire.Fixed64Type {
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
