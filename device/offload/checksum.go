package offload

import (
	"encoding/binary"
	"math/bits"
)

// Checksum returns a partial Internet checksum (RFC 1071): the sum of initial and of
// b as a sequence of big-endian 16-bit words. Partial sums may be added to each
// other, and single words to them. An odd last byte counts as the high half of a
// word, so only the last of several pieces may have odd length.
func Checksum(b []byte, initial uint64) uint64 {
	var sum [2]byte
	binary.NativeEndian.PutUint16(sum[:], Fold(words(b)))
	return initial + uint64(big.Uint16(sum[:]))
}

// Fold returns a partial sum as 16 bits. The checksum field of a packet holds the
// complement of that.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}

// words returns the sum of b in the machine's own byte order. That only swaps the
// bytes of the folded result (RFC 1071, section 2).
func words(b []byte) uint64 {
	if bits.UintSize == 32 {
		return words32(b)
	}
	var sum, carry uint64
	native := binary.NativeEndian
	for len(b) >= 64 {
		sum, carry = bits.Add64(sum, native.Uint64(b), 0)
		sum, carry = bits.Add64(sum, native.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, native.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, native.Uint64(b[24:]), carry)
		sum, carry = bits.Add64(sum, native.Uint64(b[32:]), carry)
		sum, carry = bits.Add64(sum, native.Uint64(b[40:]), carry)
		sum, carry = bits.Add64(sum, native.Uint64(b[48:]), carry)
		sum, carry = bits.Add64(sum, native.Uint64(b[56:]), carry)
		sum += carry
		b = b[64:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, native.Uint64(b), 0)
		sum += carry
		b = b[8:]
	}
	// The rest adds up to less than 2³⁴, so this can't overflow after folding.
	return sum>>32 + sum&0xffffffff + words32(b)
}

// words32 is words without 64-bit additions with carry, which are slow on some
// machines. Its sum can't overflow for less than 2³⁴ bytes.
func words32(b []byte) uint64 {
	var sum uint64
	native := binary.NativeEndian
	for len(b) >= 16 {
		sum += uint64(native.Uint32(b))
		sum += uint64(native.Uint32(b[4:]))
		sum += uint64(native.Uint32(b[8:]))
		sum += uint64(native.Uint32(b[12:]))
		b = b[16:]
	}
	for len(b) >= 4 {
		sum += uint64(native.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		sum += uint64(native.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		last := [2]byte{b[0], 0}
		sum += uint64(native.Uint16(last[:]))
	}
	return sum
}
