package mesh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits of a statement, so that it fits into a record together with the rest.
const (
	MaxExpelled      = 16
	MaxAccepted      = 4
	MaxStatementSize = 1 + 2*binary.MaxVarintLen64 + KeySize + 3 + (MaxExpelled+2*MaxAccepted)*digestSize + KeySize + SignatureSize

	digestSize       = 16
	statementVersion = 1
)

// Charter is what a node of an own mesh knows of what the authority says, and of the
// secrets.
type Charter struct {
	Authority    Authority // of the mesh; zero: it has none
	Founder      string    // node id of the founder; empty: this node
	Statement    Statement // the newest; with Number 0 there is none
	Repeated     string    // the same, signed, for this node's record; empty: not repeated
	SecretNumber uint64    // of the newest secret that this node has
	// Next is that secret while the mesh changes to it; zero: it is the ClusterSecret. A
	// peer that has it, too, gets it as its preshared key.
	Next Secret
}

// Periods of attempts, see presharedKey. The shorter one fits into the longer one, and both
// are those of whole passes.
const (
	handshakeLate = 150 * time.Second // RekeyAfterTime and some attempts
	lowerPeriod   = ReconcileInterval
	higherPeriod  = 3 * ReconcileInterval
)

// presharedKey returns the preshared key for a peer: the next secret if the peer says that
// it has it, too. It may not know the same of this node, if discovery has failed between
// the two records. So when there is no handshake for long, both try both secrets in turn,
// the node with the higher node id more slowly.
func (in *Input) presharedKey(peer *PeerSpec, s *PeerStatus, now time.Time) Secret {
	m := &in.Config.Charter
	next := peer.secretNumber >= m.SecretNumber
	if last := s.LastHandshakeTime; !last.IsZero() && now.Sub(last) > handshakeLate {
		period := lowerPeriod
		if in.Self.NodeID > peer.NodeID {
			period = higherPeriod
		}
		next = now.Unix()/int64(period/time.Second)%2 == 0
	}
	if m.Next.IsZero() || !next {
		return in.Config.ClusterSecret
	}
	return m.Next
}

// maxRefused bounds what NewestStatement remembers.
const maxRefused = 1024

// NewestStatement returns the newest of the statements that affiliates repeat, as it was
// signed, if it is newer than the one in c. Verifying takes 50 µs, and anyone who knows the
// mesh's secret can make up statements; those that were refused are remembered in refused.
// Unknown reports that the founder repeats a newer one that is not by the authority that
// this node knows: there may be a successor.
func (c *Charter) NewestStatement(clusterID string, affiliates []Affiliate, refused map[string]bool) (newest string, unknown bool) {
	if c.Authority == (Authority{}) {
		return "", false
	}
	number := c.Statement.Number
	for i := range affiliates {
		text := affiliates[i].Record.Statement
		if text == "" || text == c.Repeated {
			continue
		}
		s, err := ParseStatement([]byte(text))
		if err != nil || s.Number <= number {
			continue
		}
		if !refused[text] {
			if _, err = OpenStatement(c.Authority, clusterID, []byte(text)); err == nil {
				number, newest = s.Number, text
				continue
			}
			if len(refused) >= maxRefused {
				clear(refused)
			}
			refused[text] = true
		}
		unknown = unknown || affiliates[i].NodeID == c.Founder
	}
	return newest, unknown
}

// Bits of a statement's flags.
const (
	statementClosed = 1 << iota
	statementSuccession
)

// Statement is what the authority of a mesh has last said about its members. All of it is
// in the newest statement: whoever has that needs no other.
type Statement struct {
	Number uint64 // of two statements the one with the higher number is newer; never zero

	// SecretNumber is the number of the secret that the mesh uses, or changes to: the first
	// is zero. SecretHash tells it from others.
	SecretNumber uint64
	SecretHash   [KeySize]byte
	// Closed says that the change is over: the secret before it is used no more.
	Closed bool

	Expelled  []NodeDigest // with this change of the secret
	Accepted  []Acceptance // oldest first
	Successor Authority    // that makes the next statements; zero: the same authority
}

// NodeDigest names a node by the first bytes of its signing key. To find another key with
// the same ones is as hard as to break AES-128.
type NodeDigest [digestSize]byte

// DigestNodeID returns the digest of a node id.
func DigestNodeID(id string) (NodeDigest, error) {
	key, err := DecodeNodeID(id)
	return NodeDigest(key[:digestSize]), err
}

// Acceptance gives a node a nodename that another one has: it is the same box, installed
// anew.
type Acceptance struct {
	Node NodeDigest
	Name [digestSize]byte // of SHA-256
}

// NewAcceptance returns the acceptance of a node by a name.
func NewAcceptance(nodeID, nodename string) (Acceptance, error) {
	d, err := DigestNodeID(nodeID)
	name := sha256.Sum256([]byte(nodename))
	return Acceptance{d, [digestSize]byte(name[:])}, err
}

// Expels reports whether s names a node as expelled.
func (s *Statement) Expels(nodeID string) bool {
	if len(s.Expelled) == 0 {
		return false
	}
	d, err := DigestNodeID(nodeID)
	return err == nil && slices.Contains(s.Expelled, d)
}

// Accept adds an acceptance, in the place of another one of the same name, or of the
// oldest if there is no room.
func (s *Statement) Accept(a Acceptance) {
	kept := slices.DeleteFunc(slices.Clone(s.Accepted), func(o Acceptance) bool { return o.Name == a.Name })
	s.Accepted = append(kept[max(0, len(kept)+1-MaxAccepted):], a)
}

// HashSecret returns the SecretHash of a secret.
func HashSecret(clusterID string, secret Secret) [KeySize]byte {
	return sha256.Sum256(slices.Concat([]byte("wirespan secret\x00"), secret.b[:], []byte(clusterID)))
}

// Sign returns the statement, encoded and signed for a cluster.
func (k AuthorityKey) Sign(clusterID string, s Statement) []byte {
	body := s.encode()
	return append(body, ed25519.Sign(ed25519.NewKeyFromSeed(k.b[:]), statementMessage(clusterID, body))...)
}

func statementMessage(clusterID string, body []byte) []byte {
	m := append([]byte("wirespan statement 1\x00"), byte(len(clusterID)>>8), byte(len(clusterID)))
	return slices.Concat(m, []byte(clusterID), body)
}

// OpenStatement reads an untrusted statement. It returns an error unless this authority
// has signed it for this cluster.
func OpenStatement(a Authority, clusterID string, data []byte) (Statement, error) {
	s, err := ParseStatement(data)
	if err != nil {
		return Statement{}, err
	}
	split := len(data) - SignatureSize
	if a.Check() != nil || !ed25519.Verify(a[:], statementMessage(clusterID, data[:split]), data[split:]) {
		return Statement{}, errors.New("the statement is not signed by this mesh's authority")
	}
	return s, nil
}

func (s *Statement) encode() []byte {
	b := binary.AppendUvarint([]byte{statementVersion}, s.Number)
	b = append(binary.AppendUvarint(b, s.SecretNumber), s.SecretHash[:]...)
	var flags byte
	if s.Closed {
		flags |= statementClosed
	}
	if s.Successor != (Authority{}) {
		flags |= statementSuccession
	}
	b = append(b, flags, byte(len(s.Expelled)))
	for _, d := range s.Expelled {
		b = append(b, d[:]...)
	}
	b = append(b, byte(len(s.Accepted)))
	for _, a := range s.Accepted {
		b = append(append(b, a.Node[:]...), a.Name[:]...)
	}
	if s.Successor != (Authority{}) {
		b = append(b, s.Successor[:]...)
	}
	return b
}

// ParseStatement reads a statement and does not verify it.
func ParseStatement(data []byte) (s Statement, err error) {
	if len(data) > MaxStatementSize || len(data) <= SignatureSize || data[0] != statementVersion {
		return Statement{}, errors.New("not a statement of a mesh's authority")
	}
	r := statementReader{Reader: bytes.NewReader(data[1 : len(data)-SignatureSize])}
	if err := r.read(&s); err != nil {
		return Statement{}, fmt.Errorf("the statement is malformed: %w", err)
	}
	return s, nil
}

// statementReader reads fields, and remembers that one was missing.
type statementReader struct {
	*bytes.Reader
	short bool
}

func (r *statementReader) full(b []byte) {
	n, _ := r.Read(b)
	r.short = r.short || n < len(b)
}

func (r *statementReader) number() uint64 {
	n, err := binary.ReadUvarint(r)
	r.short = r.short || err != nil
	return n
}

func (r *statementReader) octet() byte {
	b, err := r.ReadByte()
	r.short = r.short || err != nil
	return b
}

func (r *statementReader) read(s *Statement) error {
	s.Number, s.SecretNumber = r.number(), r.number()
	r.full(s.SecretHash[:])
	flags := r.octet()
	s.Closed = flags&statementClosed != 0
	expelled := r.octet()
	for range min(expelled, MaxExpelled) {
		var d NodeDigest
		r.full(d[:])
		s.Expelled = append(s.Expelled, d)
	}
	accepted := r.octet()
	for range min(accepted, MaxAccepted) {
		var a Acceptance
		r.full(a.Node[:])
		r.full(a.Name[:])
		s.Accepted = append(s.Accepted, a)
	}
	if flags&statementSuccession != 0 {
		r.full(s.Successor[:])
		if err := s.Successor.Check(); err != nil && !r.short {
			return fmt.Errorf("the successor: %w", err)
		}
	}
	switch {
	case r.short:
		return errors.New("it is too short")
	case r.Len() > 0:
		return errors.New("it is too long")
	case s.Number == 0 || flags >= statementSuccession<<1 || expelled > MaxExpelled || accepted > MaxAccepted:
		return errors.New("a number is out of range")
	}
	return nil
}
