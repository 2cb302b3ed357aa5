package stun

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// Sample responses of RFC 5769, sections 2.2 and 2.3.
const (
	sample4 = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643" +
		"000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
	sample6 = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9" +
		"00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSamplesOfRFC5769(t *testing.T) {
	for sample, want := range map[string]string{
		sample4: "192.0.2.1:32853",
		sample6: "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
	} {
		m, err := Parse(unhex(t, sample))
		if err != nil || m.Type != Response || m.Mapped.String() != want {
			t.Errorf("Parse: %+v, %v, want a response with %s", m, err, want)
		}
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	good := unhex(t, sample4)
	for name, spoil := range map[string]func([]byte) []byte{
		"empty":             func([]byte) []byte { return nil },
		"short":             func(b []byte) []byte { return b[:headerSize-1] },
		"cut":               func(b []byte) []byte { return b[:len(b)-4] },
		"other cookie":      func(b []byte) []byte { b[4] ^= 1; return b },
		"wrong fingerprint": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"changed address":   func(b []byte) []byte { b[47] ^= 1; return b },
		"indication":        func(b []byte) []byte { b[0], b[1] = 0, 0x11; return b },
		"too long attribute": func(b []byte) []byte {
			b[22], b[23] = 0xff, 0xff
			return b
		},
		"no mapped address": func([]byte) []byte {
			return finish(appendHeader(nil, Response, ID{}), 0, true)
		},
		"failure without code": func([]byte) []byte {
			return finish(appendHeader(nil, Failure, ID{}), 0, true)
		},
		"unknown attribute in a response": func([]byte) []byte {
			b := appendMapped(appendHeader(nil, Response, ID{}), &ID{}, netip.MustParseAddrPort("192.0.2.1:1"))
			return finish(appendAttribute(b, 0x7fff, nil), 0, true)
		},
		"attribute behind the fingerprint": func([]byte) []byte {
			b := finish(appendHeader(nil, Request, ID{}), 0, true)
			return finish(appendAttribute(b, attrSoftware, nil), 0, false)
		},
	} {
		if m, err := Parse(spoil([]byte(string(good)))); err == nil {
			t.Errorf("%s: Parse returned %+v", name, m)
		}
	}
}

// Packets of WireGuard are never taken for STUN: three zero bytes follow the type.
func TestPacketsOfWireGuardAreNotSTUN(t *testing.T) {
	for kind := byte(1); kind <= 4; kind++ {
		for size := range 256 {
			b := make([]byte, size)
			if size > 8 {
				copy(b[4:], "\x21\x12\xa4\x42") // an index may look like the cookie
			}
			if size > 0 {
				b[0] = kind
			}
			if Is(b) && IsRequest(b) {
				t.Errorf("a packet of type %d with %d bytes is taken for a request", kind, size)
			}
			if _, err := Parse(b); err == nil {
				t.Errorf("a packet of type %d with %d bytes is parsed", kind, size)
			}
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	b := unhex(t, sample6)
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse(b) }); n != 0 {
		t.Errorf("Parse allocates %v times", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, sample4))
	f.Add(unhex(f, sample6))
	f.Add(AppendRequest(nil, ID{1}, ChangeIP|ChangePort))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := string(b)
		m, err := Parse(b)
		if string(b) != before {
			t.Fatal("Parse has changed the message")
		}
		if err != nil {
			return
		}
		if !Is(b) || m.ID != IDOf(b) {
			t.Errorf("parsed %+v of what is not STUN", m)
		}
		if m.Type == Response && (!m.Mapped.IsValid() || m.Mapped.Port() == 0) {
			t.Error("a response without an address")
		}
		if m.Mapped.Addr().Is4In6() {
			t.Errorf("mapped address %v is not unmapped", m.Mapped)
		}
	})
}
