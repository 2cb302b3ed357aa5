package mesh

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

var testFounder = NewNodeKey([32]byte{8}).NodeID()

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
	m := Membership{"cluster", NewSecret([32]byte{7}), 0, authority, testFounder, nil}
	if back, err := ParseMembership(m.Encode()); err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("reads back as %+v, %v", back, err)
	}
	for name, bad := range map[string]Membership{
		"no cluster id":   {"", m.Secret, 0, authority, testFounder, nil},
		"long cluster id": {strings.Repeat("x", 257), m.Secret, 0, authority, testFounder, nil},
		"no secret":       {"c", Secret{}, 0, authority, testFounder, nil},
		"no founder":      {"c", m.Secret, 0, authority, "x", nil},
		"weak authority":  {"c", m.Secret, 0, Authority{1}, testFounder, nil},
		"many statements": {"c", m.Secret, 0, authority, testFounder, make([][]byte, MaxSuccessions+2)},
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

// A member takes a secret only together with the authority's statement of it, and follows
// the authority to its successors.
func TestMembershipStatements(t *testing.T) {
	first, second := NewAuthorityKey([32]byte{1}), NewAuthorityKey([32]byte{2})
	secret := NewSecret([32]byte{7})
	handover := first.Sign("c", Statement{Number: 1, Successor: second.Authority()})
	newest := second.Sign("c", Statement{Number: 2, SecretNumber: 3, SecretHash: HashSecret("c", secret)})
	m := Membership{"c", secret, 3, first.Authority(), testFounder, [][]byte{handover, newest}}
	for _, known := range []Authority{first.Authority(), second.Authority()} {
		if s, signed, a, err := m.Latest(known); err != nil || s.Number != 2 || !bytes.Equal(signed, newest) || a != second.Authority() {
			t.Errorf("latest: %+v, %v, %v", s, a, err)
		}
	}
	plain := Membership{"c", secret, 0, first.Authority(), testFounder, nil}
	if s, _, a, err := plain.Latest(first.Authority()); err != nil || s.Number != 0 || a != first.Authority() {
		t.Errorf("without a statement: %+v, %v, %v", s, a, err)
	}
	for name, change := range map[string]func(*Membership){
		"another mesh":      func(m *Membership) { m.ClusterID = "d" },
		"another secret":    func(m *Membership) { m.Secret = NewSecret([32]byte{8}) },
		"another number":    func(m *Membership) { m.SecretNumber++ },
		"no statement":      func(m *Membership) { m.Statements = nil },
		"no handover":       func(m *Membership) { m.Statements = m.Statements[1:] },
		"out of order":      func(m *Membership) { m.Statements = [][]byte{newest, handover} },
		"another authority": func(m *Membership) { m.Authority = second.Authority() },
		"an unknown mesh's": func(m *Membership) {
			m.Authority = NewAuthorityKey([32]byte{9}).Authority()
			m.Statements = nil
			m.SecretNumber = 0
		},
		"the same again": func(m *Membership) { m.Statements = append(m.Statements, newest) },
	} {
		bad := m
		change(&bad)
		if _, _, _, err := bad.Latest(first.Authority()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzEnrolment: what is accepted has one encoding that reads back the same, as a
// request or as an answer.
func FuzzEnrolment(f *testing.F) {
	e := testEnrolment()
	m := Membership{"cluster", NewSecret([32]byte{7}), 0, NewAuthorityKey([32]byte{1}).Authority(), testFounder, nil}
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
