package mesh

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// The encodings are worked out by hand: six bits from the end at a time, five if
// bits 1 to 4 are ones.
func TestBase62(t *testing.T) {
	for _, c := range []struct {
		name string
		src  []byte
		want string
	}{
		{"empty", nil, ""},
		{"zero: 000000 00", []byte{0x00}, "AA"},
		{"one: 000001 00", []byte{0x01}, "BA"},
		{"0xff: 11111 111", []byte{0xff}, "fH"},
		{"30 is compact: 11110 000", []byte{0x1e}, "eA"},
		{"29 is not: 011101 00", []byte{0x1d}, "dA"},
		{"61: 111101 00", []byte{0x3d}, "9A"},
		{"62 is compact: 11110 001", []byte{0x3e}, "eB"},
		{"order: last byte first", []byte{0x01, 0x02}, "CEA"},
		{"six bits left, 30: kept whole", []byte{0x78, 0, 0}, "AAAe"},
		{"six bits left, 62: split", []byte{0xf8, 0, 0}, "AAAeB"},
		{"32 zero bytes", make([]byte, 32), strings.Repeat("A", 43)},
		{"32 bytes of ones", bytes.Repeat([]byte{0xff}, 32), strings.Repeat("f", 51) + "B"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := encodeBase62(c.src); got != c.want {
				t.Errorf("encode = %q, want %q", got, c.want)
			}
			got, err := decodeBase62(c.want)
			if err != nil || !bytes.Equal(got, c.src) {
				t.Errorf("decode = %x, %v; want %x", got, err, c.src)
			}
		})
	}
}

func TestBase62RoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 20000 {
		var id [NodeIDSize]byte
		for i := range id {
			switch n % 4 {
			case 0:
				id[i] = byte(rng.Uint32())
			case 1: // long runs of ones
				id[i] = byte(rng.Uint32() | rng.Uint32() | rng.Uint32())
			case 2: // long runs of zeros
				id[i] = byte(rng.Uint32() & rng.Uint32() & rng.Uint32())
			case 3: // leading zeros, then ones
				if i >= n/4%32 {
					id[i] = 0xff
				}
			}
		}
		s := NodeIDFromBytes(id)
		if len(s) < 43 || len(s) > maxNodeIDLength {
			t.Fatalf("%x: encoding has %d characters", id, len(s))
		}
		got, err := DecodeNodeID(s)
		if err != nil || got != id {
			t.Fatalf("%x → %s → %x, %v", id, s, got, err)
		}
	}
}

// The vector is from Talos: the machine id of a node is the first half of its node id.
func TestMachineID(t *testing.T) {
	id, err := DecodeNodeID("sou7yy34ykX3n373Zw1DXKb8zD7UnyKT6HT3QDsGH6L")
	if got, want := hex.EncodeToString(id[:16]), "be871ac0d0dd31fa4caca753b0f3f1b2"; err != nil || got != want {
		t.Errorf("machine id %q, %v; want %q", got, err, want)
	}
}

func TestDecodeNodeIDRefuses(t *testing.T) {
	valid := NodeIDFromBytes([32]byte{31: 7})
	for _, c := range []struct{ name, id, want string }{
		{"empty", "", "decodes to 0 bytes, not 32"},
		{"bad character", valid[:10] + "-" + valid[11:], `byte offset 10: '-'`},
		{"bad last character", valid[:42] + "_", "byte offset 42"},
		{"not ASCII", "ä" + valid[2:], "byte offset 0"},
		{"truncated", valid[:41], "decodes to 30 bytes"},
		{"another final zero", valid + "A", "not 32"},
		{"too long", strings.Repeat("A", 53), "at most 52"},
		{"leading zeros left out", "e" + strings.Repeat("A", 40) + "e", `not the canonical form "e` + strings.Repeat("A", 40) + `eA"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeNodeID(c.id)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want %q in it", err, c.want)
			}
		})
	}
}

func FuzzDecodeNodeID(f *testing.F) {
	f.Add("")
	f.Add("sou7yy34ykX3n373Zw1DXKb8zD7UnyKT6HT3QDsGH6L")
	f.Add(strings.Repeat("f", 51) + "B")
	f.Add(strings.Repeat("9", 60))
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = decodeBase62(s) // of any length
		id, err := DecodeNodeID(s)
		if err == nil && NodeIDFromBytes(id) != s {
			t.Errorf("%q decodes to %x, which encodes to %q", s, id, NodeIDFromBytes(id))
		}
	})
}
