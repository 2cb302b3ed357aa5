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
	b = protowire.AppendFixed64(protowire.AppendTag(b, 4, protowire.Fixed64Type), 7)
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
	for _, b := range [][]byte{{0}, {0x0a, 2, 1}, {8}, {0x0c}, {0x0b, 0x14}, {9, 1}, bytes.Repeat([]byte{0xff}, 11)} {
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
