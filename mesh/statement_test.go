package mesh

import (
	"bytes"
	"reflect"
	"testing"
)

func fullStatement() Statement {
	s := Statement{Number: 1 << 40, SecretNumber: 1 << 50, SecretHash: [32]byte{1}, Closed: true, Successor: NewAuthorityKey([32]byte{7}).Authority()}
	for i := range MaxExpelled {
		s.Expelled = append(s.Expelled, NodeDigest{byte(i)})
	}
	for i := range MaxAccepted {
		s.Accepted = append(s.Accepted, Acceptance{Node: NodeDigest{byte(i)}, Name: [digestSize]byte{byte(i)}})
	}
	return s
}

func TestStatementRoundTrip(t *testing.T) {
	key := NewAuthorityKey([32]byte{1})
	for _, s := range []Statement{{Number: 1}, {Number: 2, Closed: true, Expelled: []NodeDigest{{1}}}, fullStatement()} {
		data := key.Sign("c", s)
		got, err := OpenStatement(key.Authority(), "c", data)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("read back: %+v, %v; want %+v", got, err, s)
		}
		if len(data) > MaxStatementSize {
			t.Errorf("%d bytes, at most %d", len(data), MaxStatementSize)
		}
	}
}

// Nobody else can make a statement, nor can that of one mesh be used in another.
func TestForgedStatements(t *testing.T) {
	key, s := NewAuthorityKey([32]byte{1}), fullStatement()
	data := key.Sign("c", s)
	open := func(name string, a Authority, cluster string, data []byte) {
		t.Helper()
		if _, err := OpenStatement(a, cluster, data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	open("of another authority", NewAuthorityKey([32]byte{2}).Authority(), "c", data)
	open("of no authority", Authority{}, "c", data)
	open("of another mesh", key.Authority(), "d", data)
	open("nothing", key.Authority(), "c", nil)
	open("appended", key.Authority(), "c", append(bytes.Clone(data), 0))
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1
		open("changed", key.Authority(), "c", changed)
		open("cut", key.Authority(), "c", data[:i])
	}
	many := Statement{Number: 1, Expelled: make([]NodeDigest, MaxExpelled+1)}
	open("too many", key.Authority(), "c", key.Sign("c", many))
	open("number zero", key.Authority(), "c", key.Sign("c", Statement{}))
	open("weak successor", key.Authority(), "c", key.Sign("c", Statement{Number: 1, Successor: Authority{1}}))
}

func TestStatementAccept(t *testing.T) {
	var s Statement
	for i := range byte(MaxAccepted + 2) {
		s.Accept(Acceptance{Node: NodeDigest{i}, Name: [digestSize]byte{i}})
	}
	if len(s.Accepted) != MaxAccepted || s.Accepted[0].Node != (NodeDigest{2}) {
		t.Errorf("the oldest are to go: %v", s.Accepted)
	}
	s.Accept(Acceptance{Node: NodeDigest{99}, Name: [digestSize]byte{3}})
	if len(s.Accepted) != MaxAccepted || s.Accepted[MaxAccepted-1].Node != (NodeDigest{99}) {
		t.Errorf("one with the same name is to be replaced: %v", s.Accepted)
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add(NewAuthorityKey([32]byte{1}).Sign("c", fullStatement()))
	f.Add(NewAuthorityKey([32]byte{1}).Sign("c", Statement{Number: 1}))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStatement(data)
		if err != nil {
			return
		}
		again, err := ParseStatement(append(s.encode(), make([]byte, SignatureSize)...))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v reads back as %+v, %v", s, again, err)
		}
	})
}
