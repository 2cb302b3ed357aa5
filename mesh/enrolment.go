package mesh

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Limits of the messages of an enrolment.
const (
	MaxEnrolmentSize  = 2 << 10  // bytes
	MaxMembershipSize = 16 << 10 // bytes
	// EnrolmentIDSize is the length of the id of a join token, in bytes.
	EnrolmentIDSize = 8
	maxClusterID    = 256
)

// EnrolmentID names a join token. It is no secret.
type EnrolmentID [EnrolmentIDSize]byte

// Enrolment is what a node sends to the founder of a mesh to become a member, or as a
// member, to get the present secret. The connection must be one to the server with the
// pin: the key is in it.
type Enrolment struct {
	ID        EnrolmentID // of the join token; zero: of a member
	Key       Secret      // of the join token
	NodeID    string
	Signature [SignatureSize]byte
}

// Membership is the answer: all that a member needs and that its token does not have.
type Membership struct {
	ClusterID    string
	Secret       Secret // the newest
	SecretNumber uint64
	Authority    Authority // the first of the mesh
	Founder      string    // its node id
	// Statements are the authority's: those that name successors, and the newest one.
	Statements [][]byte
}

// MaxSuccessions bounds how often a mesh's authority can be replaced.
const MaxSuccessions = 8

// Latest verifies that this is the mesh of an authority, and its statements. It returns
// the newest one (Number 0: there is none), as it was signed, and the authority that makes
// the next one.
func (m *Membership) Latest(known Authority) (s Statement, signed []byte, a Authority, err error) {
	a = m.Authority
	ours := a == known
	for _, data := range m.Statements {
		next, err := OpenStatement(a, m.ClusterID, data)
		if err != nil {
			return Statement{}, nil, Authority{}, fmt.Errorf("answer to the enrolment: %w", err)
		}
		if next.Number <= s.Number {
			return Statement{}, nil, Authority{}, errors.New("answer to the enrolment: its statements are out of order")
		}
		if s, signed = next, data; s.Successor != (Authority{}) {
			a = s.Successor
			ours = ours || a == known
		}
	}
	if !ours {
		return Statement{}, nil, Authority{}, errors.New("the founder has another authority key: its mesh was founded anew; get a new join token there")
	}
	if s.SecretNumber != m.SecretNumber || m.SecretNumber != 0 && s.SecretHash != HashSecret(m.ClusterID, m.Secret) {
		return Statement{}, nil, Authority{}, errors.New("answer to the enrolment: the secret is not the one of the authority's statement")
	}
	return s, signed, a, nil
}

// NewEnrolment returns an enrolment, signed for the server with this pin.
func NewEnrolment(id EnrolmentID, key Secret, node NodeKey, pin [32]byte) Enrolment {
	e := Enrolment{ID: id, Key: key, NodeID: node.NodeID()}
	e.Signature = node.Sign(e.message(pin))
	return e
}

// Verify returns an error unless the node has signed e for the server with this pin.
func (e *Enrolment) Verify(pin [32]byte) error {
	return VerifyNode(e.NodeID, e.message(pin), e.Signature[:])
}

// message returns what is signed. All but the node id, which is last, has a fixed length.
func (e *Enrolment) message(pin [32]byte) []byte {
	m := append([]byte("wirespan enrolment\x00"), e.ID[:]...)
	m = append(m, pin[:]...)
	return append(m, e.NodeID...)
}

type enrolmentMessage struct {
	ID        []byte `json:"token"`
	Key       []byte `json:"key"`
	NodeID    string `json:"node"`
	Signature []byte `json:"signature"`
}

type membershipMessage struct {
	ClusterID    string   `json:"cluster"`
	Secret       []byte   `json:"secret"`
	SecretNumber uint64   `json:"secretNumber"`
	Authority    []byte   `json:"authority"`
	Founder      string   `json:"founder"`
	Statements   [][]byte `json:"statements"`
}

// Encode returns the message that [ParseEnrolment] reads. It reveals the key.
func (e *Enrolment) Encode() []byte {
	data, err := json.Marshal(enrolmentMessage{e.ID[:], e.Key.b[:], e.NodeID, e.Signature[:]})
	if err != nil { // strings and bytes always encode
		panic(err)
	}
	return data
}

// ParseEnrolment reads an untrusted enrolment. It verifies nothing.
func ParseEnrolment(data []byte) (Enrolment, error) {
	var m enrolmentMessage
	if err := decodeMessage(data, MaxEnrolmentSize, &m); err != nil {
		return Enrolment{}, fmt.Errorf("enrolment: %w", err)
	}
	if len(m.ID) != EnrolmentIDSize || len(m.Key) != KeySize || len(m.Signature) != SignatureSize {
		return Enrolment{}, errors.New("enrolment: a field has the wrong length")
	}
	if _, err := DecodeNodeID(m.NodeID); err != nil {
		return Enrolment{}, fmt.Errorf("enrolment: %w", err)
	}
	return Enrolment{EnrolmentID(m.ID), Secret{[KeySize]byte(m.Key)}, m.NodeID, [SignatureSize]byte(m.Signature)}, nil
}

// Encode returns the message that [ParseMembership] reads. It reveals the secret.
func (m *Membership) Encode() []byte {
	data, err := json.Marshal(membershipMessage{m.ClusterID, m.Secret.b[:], m.SecretNumber, m.Authority[:], m.Founder, m.Statements})
	if err != nil { // strings and bytes always encode
		panic(err)
	}
	return data
}

// ParseMembership reads an answer. Errors never quote values.
func ParseMembership(data []byte) (Membership, error) {
	var m membershipMessage
	if err := decodeMessage(data, MaxMembershipSize, &m); err != nil {
		return Membership{}, fmt.Errorf("answer to the enrolment: %w", err)
	}
	if len(m.Secret) != KeySize || len(m.Authority) != KeySize {
		return Membership{}, errors.New("answer to the enrolment: a field has the wrong length")
	}
	out := Membership{m.ClusterID, Secret{[KeySize]byte(m.Secret)}, m.SecretNumber, Authority(m.Authority), m.Founder, m.Statements}
	if _, err := DecodeNodeID(m.Founder); err != nil {
		return Membership{}, fmt.Errorf("answer to the enrolment: the founder: %w", err)
	}
	switch {
	case out.ClusterID == "" || len(out.ClusterID) > maxClusterID || !utf8.ValidString(out.ClusterID):
		return Membership{}, errors.New("answer to the enrolment: not a cluster id")
	case out.Secret.IsZero():
		return Membership{}, errors.New("answer to the enrolment: no secret")
	case len(m.Statements) > MaxSuccessions+1:
		return Membership{}, errors.New("answer to the enrolment: too many statements")
	}
	return out, out.Authority.Check()
}

func decodeMessage(data []byte, limit int, into any) error {
	if len(data) > limit {
		return fmt.Errorf("%d bytes, at most %d", len(data), limit)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if dec.Decode(into) != nil || dec.InputOffset() != int64(len(data)) {
		return errors.New("unexpected contents")
	}
	return nil
}
