package mesh

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func testEnrolment() Enrolment {
	return NewEnrolment(EnrolmentID{1}, NewSecret([32]byte{2}), NewNodeKey([32]byte{3}), [32]byte{4})
}

func TestEnrolment(t *testing.T) {
	e := testEnrolment()
	back, err := ParseEnrolment(e.Encode())
	if err != nil || back != e {
		t.Fatalf("reads back as %+v, %v", back, err)
	}
	if err := back.Verify([32]byte{4}); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Enrolment, *[32]byte){
		"another server": func(_ *Enrolment, pin *[32]byte) { pin[0]++ },
		"another token":  func(e *Enrolment, _ *[32]byte) { e.ID[0]++ },
		"another node":   func(e *Enrolment, _ *[32]byte) { e.NodeID = NewNodeKey([32]byte{9}).NodeID() },
		"one bit":        func(e *Enrolment, _ *[32]byte) { e.Signature[5] ^= 1 },
	} {
		e, pin := testEnrolment(), [32]byte{4}
		change(&e, &pin)
		if e.Verify(pin) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEnrolmentErrors(t *testing.T) {
	valid := func(change func(map[string]any)) string {
		e := testEnrolment()
		var m map[string]any
		if err := json.Unmarshal(e.Encode(), &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, test := range map[string]struct{ data, want string }{
		"empty":     {"", "enrolment: unexpected contents"},
		"trailing":  {valid(func(map[string]any) {}) + "{}", "enrolment: unexpected contents"},
		"unknown":   {valid(func(m map[string]any) { m["x"] = 1 }), "enrolment: unexpected contents"},
		"short key": {valid(func(m map[string]any) { m["key"] = "AAAA" }), "enrolment: a field has the wrong length"},
		"no token":  {valid(func(m map[string]any) { delete(m, "token") }), "enrolment: a field has the wrong length"},
		"node id":   {valid(func(m map[string]any) { m["node"] = "x\n" }), `enrolment: node id "x\n": `},
		"too long":  {strings.Repeat(" ", MaxEnrolmentSize+1), "enrolment: 2049 bytes, at most 2048"},
	} {
		if e, err := ParseEnrolment([]byte(test.data)); err == nil || !strings.Contains(err.Error(), test.want) || e != (Enrolment{}) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestMembership(t *testing.T) {
	authority := NewAuthorityKey([32]byte{1}).Authority()
	m := Membership{"cluster", NewSecret([32]byte{7}), authority}
	if back, err := ParseMembership(m.Encode()); err != nil || back != m {
		t.Errorf("reads back as %+v, %v", back, err)
	}
	for name, bad := range map[string]Membership{
		"no cluster id":   {"", m.Secret, authority},
		"long cluster id": {strings.Repeat("x", 257), m.Secret, authority},
		"no secret":       {"c", Secret{}, authority},
		"weak authority":  {"c", m.Secret, Authority{1}},
	} {
		if _, err := ParseMembership(bad.Encode()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, bad := range []string{"", "{}", `{"cluster":"c","secret":"AAAA"}`, `[]`} {
		if _, err := ParseMembership([]byte(bad)); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

// FuzzEnrolment: what is accepted has one encoding that reads back the same, as a
// request or as an answer.
func FuzzEnrolment(f *testing.F) {
	e := testEnrolment()
	m := Membership{"cluster", NewSecret([32]byte{7}), NewAuthorityKey([32]byte{1}).Authority()}
	f.Add(e.Encode())
	f.Add(m.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := ParseEnrolment(data); err == nil {
			_ = e.Verify([32]byte{4})
			if back, err := ParseEnrolment(e.Encode()); err != nil || back != e {
				t.Errorf("reads back as %+v, %v", back, err)
			}
		}
		if m, err := ParseMembership(data); err == nil {
			if back, err := ParseMembership(m.Encode()); err != nil || !bytes.Equal(back.Encode(), m.Encode()) {
				t.Errorf("reads back as %+v, %v", back, err)
			}
		}
	})
}
