package mesh

import (
	"fmt"
	"math/bits"
	"strings"
)

// The node id encoding of Talos (jxskiss/base62). It does not write a number in
// base 62: it takes bits from the end of the input, six at a time, for 62
// symbols. If bits 1 to 4 of a group are all ones, it takes only five bits, which
// avoids the two values that have no symbol.
const (
	base62Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	base62Compact  = 0b011110 // a group with all of these set is five bits long
	base62FiveBits = 0b011111
	base62SixBits  = 0b111111
)

func encodeBase62(src []byte) string {
	var out strings.Builder
	var window, filled uint // the next bits, lowest first, and their number
	for left := len(src); left > 0 || filled > 0; {
		for filled < 6 && left > 0 {
			left--
			window |= uint(src[left]) << filled
			filled += 8
		}
		group, size := window&base62SixBits, uint(6)
		if group&base62Compact == base62Compact {
			last := left == 0 && filled <= 6
			if !last || group > base62FiveBits {
				size = 5
			}
			group &= base62FiveBits
		}
		out.WriteByte(base62Alphabet[group])
		window >>= size
		filled -= min(size, filled)
	}
	return out.String()
}

func decodeBase62(s string) ([]byte, error) {
	out := make([]byte, len(s)*6/8+1)
	start := len(out)
	var window, filled uint
	for i := range len(s) {
		v := strings.IndexByte(base62Alphabet, s[i])
		if v < 0 {
			return nil, fmt.Errorf("byte offset %d: %q is not a base62 character", i, s[i])
		}
		size := uint(6)
		switch {
		case i == len(s)-1: // the leading zeros of the first byte are not written
			size = uint(bits.Len(uint(v)))
		case v&base62Compact == base62Compact:
			size = 5
		}
		window |= uint(v) << filled
		filled += size
		if filled >= 8 {
			start--
			out[start] = byte(window)
			window >>= 8
			filled -= 8
		}
	}
	if filled > 0 {
		start--
		out[start] = byte(window)
	}
	return out[start:], nil
}
