package wire

import "encoding/binary"

// AppendTag appends the number and the type of a field. Its value comes after it.
func AppendTag(b []byte, field Number, kind Type) []byte {
	return binary.AppendUvarint(b, uint64(field)<<3|uint64(kind))
}

// AppendLength appends the tag of a field with size bytes, which come after it.
func AppendLength(b []byte, field Number, size int) []byte {
	return binary.AppendUvarint(AppendTag(b, field, Bytes), uint64(size))
}

// AppendBytes appends a field with a string, bytes or an encoded message.
func AppendBytes[T string | []byte](b []byte, field Number, value T) []byte {
	return append(AppendLength(b, field, len(value)), value...)
}

// AppendPresent is [AppendBytes] for a field that is left out when it is empty.
func AppendPresent[T string | []byte](b []byte, field Number, value T) []byte {
	if len(value) == 0 {
		return b
	}
	return AppendBytes(b, field, value)
}

// AppendUint appends a field with a varint.
func AppendUint(b []byte, field Number, value uint64) []byte {
	return binary.AppendUvarint(AppendTag(b, field, Varint), value)
}

// AppendFixed64 appends a field with a fixed64.
func AppendFixed64(b []byte, field Number, value uint64) []byte {
	return binary.LittleEndian.AppendUint64(AppendTag(b, field, Fixed64), value)
}

// Begin appends the tag of a message inside the message. What is appended then belongs to
// it, until [End] is called with start.
func Begin(b []byte, field Number) (_ []byte, start int) {
	b = AppendTag(b, field, Bytes)
	return b, len(b)
}

// End inserts the length of the message that begins at start.
func End(b []byte, start int) []byte {
	size := len(b) - start
	b = binary.AppendUvarint(b, uint64(size)) // makes room
	prefix := len(b) - start - size
	copy(b[start+prefix:], b[start:start+size])
	binary.AppendUvarint(b[:start], uint64(size))
	return b
}
