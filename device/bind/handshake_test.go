package bind

import "testing"

func TestIsHandshake(t *testing.T) {
	for _, tc := range []struct {
		size int
		kind byte
		want bool
	}{
		{148, 1, true},
		{92, 2, true},
		{64, 3, true},
		{148, 4, false},
		{92, 4, false},
		{64, 4, false},
		{92, 1, false},
		{147, 1, false},
		{0, 0, false},
		{1, 1, false},
	} {
		msg := make([]byte, tc.size)
		if tc.size > 0 {
			msg[0] = tc.kind
		}
		if got := isHandshake(msg); got != tc.want {
			t.Errorf("type %d of %d bytes: %v", tc.kind, tc.size, got)
		}
	}
	reserved := make([]byte, 148)
	reserved[0], reserved[1] = 1, 1
	if isHandshake(reserved) {
		t.Error("a message with reserved bits set is no handshake")
	}
}
