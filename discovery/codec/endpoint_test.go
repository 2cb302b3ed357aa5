package codec

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"
)

func TestEndpointRoundTrip(t *testing.T) {
	for in, tc := range map[string]struct {
		size int
		want string
	}{
		"192.0.2.1:51820":          {16, "192.0.2.1:51820"},
		"192.0.2.1:1":              {16, "192.0.2.1:1"},
		"[::ffff:192.0.2.1]:51820": {16, "192.0.2.1:51820"},
		"[2001:db8::1]:65535":      {32, "[2001:db8::1]:65535"},
	} {
		blob, err := SealEndpoint(testKey, netip.MustParseAddrPort(in))
		if err != nil || len(blob) != tc.size {
			t.Errorf("%s: %d bytes, error %v; want %d", in, len(blob), err, tc.size)
			continue
		}
		again, _ := SealEndpoint(testKey, netip.MustParseAddrPort(in))
		if !bytes.Equal(blob, again) {
			t.Errorf("%s: sealed to two forms", in)
		}
		if got, err := OpenEndpoint(testKey, blob); err != nil || got.String() != tc.want {
			t.Errorf("%s: opened as %v, error %v", in, got, err)
		}
		if got, err := OpenEndpoint(other.Secret, blob); err == nil && got.String() == tc.want {
			t.Errorf("%s: opened with another secret", in)
		}
	}
}

func TestSealEndpointRefuses(t *testing.T) {
	for _, in := range []string{"192.0.2.1:0", "0.0.0.0:1", "[::]:1", "224.0.0.1:1", "[ff02::1]:1", "255.255.255.255:1", "[fe80::1%eth0]:1"} {
		if _, err := SealEndpoint(testKey, netip.MustParseAddrPort(in)); err == nil {
			t.Errorf("sealed %s", in)
		}
	}
	if _, err := SealEndpoint(testKey, netip.AddrPort{}); err == nil {
		t.Error("sealed the zero AddrPort")
	}
}

// encryptBlocks encrypts whole blocks with ECB, without checking their content.
func encryptBlocks(plain []byte) []byte {
	out := make([]byte, len(plain))
	for i := 0; i+16 <= len(plain); i += 16 {
		newBlock(testKey).Encrypt(out[i:], plain[i:])
	}
	return out
}

func TestOpenEndpointRefuses(t *testing.T) {
	message := func(ip []byte, port uint32) []byte {
		b, err := (&pb.Endpoint{Ip: ip, Port: port}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		plain := make([]byte, (len(b)/16+1)*16)
		plain[0] = byte(len(b))
		copy(plain[1:], b)
		return encryptBlocks(plain)
	}
	if _, err := OpenEndpoint(testKey, message([]byte{192, 0, 2, 1}, 1)); err != nil {
		t.Fatalf("a valid endpoint: %v", err)
	}
	length := func(n byte) []byte { return encryptBlocks([]byte{0: n, 15: 0}) }
	for name, blob := range map[string][]byte{
		"empty":             {},
		"one byte":          {1},
		"not whole blocks":  make([]byte, 17),
		"three blocks":      make([]byte, 48),
		"length zero":       length(0),
		"length one over":   length(16),
		"length 255":        length(255),
		"no message":        encryptBlocks([]byte{0: 2, 1: 0xff, 2: 0xff, 15: 0}),
		"port zero":         message([]byte{192, 0, 2, 1}, 0),
		"port out of range": message([]byte{192, 0, 2, 1}, 65536),
		"unspecified":       message([]byte{0, 0, 0, 0}, 1),
		"multicast":         message([]byte{239, 0, 0, 1}, 1),
		"three bytes":       message([]byte{192, 0, 2}, 1),
		"zone":              message(append(netip.MustParseAddr("fe80::1").AsSlice(), "eth0"...), 1),
	} {
		if got, err := OpenEndpoint(testKey, blob); err == nil {
			t.Errorf("%s: opened as %v", name, got)
		}
	}
}

// FuzzOpenEndpoint feeds both sealed forms and plaintext.
func FuzzOpenEndpoint(f *testing.F) {
	blob, err := SealEndpoint(testKey, netip.MustParseAddrPort("192.0.2.1:51820"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add([]byte("\x0a\x0a\x04\xc0\x00\x02\x01\x10\xec\x94\x03\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range [][]byte{b, encryptBlocks(b)} {
			ap, err := OpenEndpoint(testKey, in)
			if err != nil {
				continue
			}
			again, err := SealEndpoint(testKey, ap)
			if err != nil {
				t.Fatalf("opened %v, but it can't be sealed: %v", ap, err)
			}
			if back, err := OpenEndpoint(testKey, again); err != nil || back != ap {
				t.Fatalf("%v changed to %v, error %v", ap, back, err)
			}
		}
	})
}
