package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestMessagesInMessages(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 1 << 14, 1 << 21} {
		inner := strings.Repeat("x", size)
		b, start := Begin([]byte{8, 1}, 7)
		b = append(b, inner...)
		b = End(b, start)
		if want := AppendBytes([]byte{8, 1}, 7, inner); !bytes.Equal(b, want) {
			t.Errorf("%d bytes: a message of %d bytes, want %d", size, len(b), len(want))
		}
	}
}

func TestFields(t *testing.T) {
	b := AppendUint(nil, 1, 300)
	b = AppendPresent(b, 2, "")
	b = AppendBytes(b, 3, "text")
	b = AppendFixed64(b, 4, 7)
	f := Read(b)
	for f.Next() {
		switch f.Number {
		case 1:
			if f.Uint() != 300 || f.Last() {
				t.Errorf("number %d", f.Uint())
			}
		case 3:
			if string(f.Bytes()) != "text" {
				t.Errorf("text %q", f.Bytes())
			}
		case 4:
			if f.Fixed64() != 7 || !f.Last() {
				t.Errorf("fixed %d", f.Fixed64())
			}
		default:
			t.Errorf("field %d", f.Number)
		}
	}
	if f.Err() != nil {
		t.Error(f.Err())
	}
}

func TestMalformed(t *testing.T) {
	for name, read := range map[string]func(*Fields){
		"a number for bytes":     func(f *Fields) { f.Bytes() },
		"a number for a fixed64": func(f *Fields) { f.Fixed64() },
	} {
		f := Read(AppendUint(AppendUint(nil, 1, 1), 2, 2))
		for f.Next() {
			if f.Number == 2 {
				t.Errorf("%s: read on", name)
			}
			read(&f)
		}
		if !errors.Is(f.Err(), ErrMalformed) {
			t.Errorf("%s: %v", name, f.Err())
		}
	}
	for _, b := range [][]byte{{0}, {6}, {7}, {12}, {9}, {13, 1, 2, 3}, {0x0b, 0x08}, {0x0a, 2, 1}, {8}, {0x0c}, {0x0b, 0x14}, {9, 1}, bytes.Repeat([]byte{0xff}, 11)} {
		f := Read(b)
		for f.Next() {
			t.Errorf("%x: field %d", b, f.Number)
		}
		if f.Err() == nil {
			t.Errorf("%x: no error", b)
		}
	}
	f := Read(AppendBytes(nil, 1, "x"))
	if f.Next(); f.Uint() != 0 || f.Err() == nil {
		t.Error("bytes were read as a number")
	}
}

// FuzzFields reads fields as protobuf's own package does.
func FuzzFields(f *testing.F) {
	f.Add(AppendBytes(AppendUint(nil, 1, 1<<63), 2, "text"))
	f.Add(AppendFixed64(nil, 1<<29-1, 1))
	f.Add([]byte{0x0b, 0x13, 0x14, 0x08, 0xff, 0x01, 0x0c, 0x10, 0x80, 0x00}) // groups, a long zero
	f.Add([]byte{0x0d, 1, 2, 3, 4, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02})
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, rest := Read(b), b
		for fields.Next() {
			number, kind, n := protowire.ConsumeTag(rest)
			size := protowire.ConsumeFieldValue(number, kind, rest[max(n, 0):])
			if n < 0 || size < 0 || Number(number) != fields.Number || Type(kind) != fields.Type {
				t.Fatalf("%x: field %d of type %d, want %d, %d", rest, fields.Number, fields.Type, number, kind)
			}
			value := rest[n : n+size]
			switch rest = rest[n+size:]; kind {
			case protowire.BytesType:
				if want, _ := protowire.ConsumeBytes(value); !bytes.Equal(fields.Bytes(), want) {
					t.Fatalf("bytes %x, want %x", fields.Bytes(), want)
				}
			case protowire.VarintType:
				if want, _ := protowire.ConsumeVarint(value); fields.Uint() != want {
					t.Fatalf("number %d, want %d", fields.Uint(), want)
				}
			case protowire.Fixed64Type:
				if want, _ := protowire.ConsumeFixed64(value); fields.Fixed64() != want {
					t.Fatalf("number %d, want %d", fields.Fixed64(), want)
				}
			}
			if len(rest) != len(fields.rest) {
				t.Fatalf("%d bytes are left, want %d", len(fields.rest), len(rest))
			}
		}
		if fields.Err() == nil && len(rest) > 0 {
			t.Fatalf("%x was not read", rest)
		}
		number, _, n := protowire.ConsumeField(rest)
		if fields.Err() != nil && n >= 0 && number <= protowire.MaxValidNumber && n <= maxGroups {
			t.Fatalf("%x was taken for malformed", rest)
		}
	})
}
