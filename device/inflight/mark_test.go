package inflight

import (
	"testing"

	wireguard "golang.zx2c4.com/wireguard/device"
)

// A mark survives sealing, in which a packet is padded up to 16 bytes.
func TestMark(t *testing.T) {
	buf := make([]byte, wireguard.MaxMessageSize)
	for n := 1; n < 9000; n++ {
		padded := (n + wireguard.PaddingMultiple - 1) / wireguard.PaddingMultiple * wireguard.PaddingMultiple
		for _, length := range []int{n, padded} {
			sealed := buf[:length+encryptedSize]
			if TakeMark(sealed) != Unmarked {
				t.Fatalf("%d bytes are marked", n)
			}
			want := Probe + Mark(n%2)
			if !want.Put(buf, n) {
				t.Fatalf("%d bytes can't be marked", n)
			}
			for i := range sealed {
				sealed[i]++
			}
			if tag := tagSpace(buf, n); tag != nil {
				tag[0]++
			}
			if TakeMark(sealed) != want || TakeMark(sealed) != Unmarked {
				t.Fatalf("%d bytes: the mark is not there, or stays", n)
			}
		}
	}
	if Probe.Put(make([]byte, 100), 100) || TakeMark(make([]byte, 100))+TakeMark(nil) != Unmarked {
		t.Error("a mark beyond the buffer")
	}
}
