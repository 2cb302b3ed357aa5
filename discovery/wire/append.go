package wire

import "google.golang.org/protobuf/encoding/protowire"

// AppendBytes appends a field with a string, bytes or an encoded message.
func AppendBytes[T string | []byte](b []byte, field protowire.Number, value T) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(value)))
	return append(b, value...)
}

// AppendPresent is [AppendBytes] for a field that is left out when it is empty.
func AppendPresent[T string | []byte](b []byte, field protowire.Number, value T) []byte {
	if len(value) == 0 {
		return b
	}
	return AppendBytes(b, field, value)
}

// AppendUint appends a field with a varint.
func AppendUint(b []byte, field protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), value)
}

// Begin appends the tag of a message inside the message. What is appended then belongs to
// it, until [End] is called with start.
func Begin(b []byte, field protowire.Number) (_ []byte, start int) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return b, len(b)
}

// End inserts the length of the message that begins at start.
func End(b []byte, start int) []byte {
	size := len(b) - start
	b = protowire.AppendVarint(b, uint64(size)) // makes room
	prefix := len(b) - start - size
	copy(b[start+prefix:], b[start:start+size])
	protowire.AppendVarint(b[:start], uint64(size))
	return b
}
