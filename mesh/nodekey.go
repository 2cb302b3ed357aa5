package mesh

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// NodeKeyFile is the name of the file with a node's signing key. Talos has none.
const NodeKeyFile = "node-key.yaml"

// SignatureSize is the length of a signature, in bytes.
const SignatureSize = ed25519.SignatureSize

// NodeKey is the Ed25519 seed (RFC 8032) that a node signs with. Its public key is the
// node id, so a signature proves that a record comes from the node with that id.
type NodeKey struct{ Secret }

// NewNodeKey returns the key of a random seed.
func NewNodeKey(seed [KeySize]byte) NodeKey { return NodeKey{Secret{seed}} }

// NodeID returns the id of the node with this key.
func (k NodeKey) NodeID() string {
	return NodeIDFromBytes([NodeIDSize]byte(k.private().Public().(ed25519.PublicKey)))
}

// Sign signs a message.
func (k NodeKey) Sign(message []byte) [SignatureSize]byte {
	return [SignatureSize]byte(ed25519.Sign(k.private(), message))
}

func (k NodeKey) private() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.b[:]) }

// Shared returns what this node and the one with an id can compute, and nobody else: X25519
// (RFC 7748) of their Ed25519 keys.
func (k NodeKey) Shared(nodeID string) (Secret, error) {
	id, err := DecodeNodeID(nodeID)
	if err != nil {
		return Secret{}, err
	}
	if err := checkPoint(id); err != nil {
		return Secret{}, fmt.Errorf("node id %q: %w", nodeID, err)
	}
	scalar := sha512.Sum512(k.b[:])
	private, err := ecdh.X25519().NewPrivateKey(scalar[:KeySize])
	if err != nil { // only for a wrong length
		return Secret{}, err
	}
	u := montgomery(id)
	public, err := ecdh.X25519().NewPublicKey(u[:])
	if err != nil { // likewise
		return Secret{}, err
	}
	shared, err := private.ECDH(public)
	if err != nil {
		return Secret{}, fmt.Errorf("node id %q: %w", nodeID, err)
	}
	return Secret{[KeySize]byte(shared)}, nil
}

// montgomery returns the u coordinate of a point of Ed25519: (1 + y) / (1 − y) modulo 2²⁵⁵−19
// (RFC 7748, section 4.1).
func montgomery(point [KeySize]byte) (u [KeySize]byte) {
	point[KeySize-1] &= 0x7f // the sign of x
	slices.Reverse(point[:])
	one, y := big.NewInt(1), new(big.Int).SetBytes(point[:])
	p := new(big.Int).Lsh(one, 255)
	p.Sub(p, big.NewInt(19))
	below := new(big.Int).Sub(one, y)
	below.ModInverse(below.Mod(below, p), p) // y is not 1: that point has a small order
	above := y.Mul(y.Add(y, one), below)
	above.Mod(above, p).FillBytes(u[:])
	slices.Reverse(u[:])
	return u
}

// VerifyNode returns an error unless the node with this id has signed message. It
// refuses keys of small order, for which anyone can make signatures, and encodings that
// are not canonical.
func VerifyNode(nodeID string, message, signature []byte) error {
	key, err := DecodeNodeID(nodeID)
	if err != nil {
		return err
	}
	if err := checkPoint(key); err != nil {
		return fmt.Errorf("node id %q: %w", nodeID, err)
	}
	if len(signature) != SignatureSize || !ed25519.Verify(key[:], message, signature) {
		return errors.New("invalid signature")
	}
	return nil
}

// smallOrder are the y coordinates, in little-endian order and without the sign of x, of
// the eight points of small order (RFC 7748 §7 lists their Montgomery forms).
var smallOrder = [...][KeySize]byte{
	{}, // order 4
	{1},
	{0xec, 1: 0xff, 2: 0xff, 3: 0xff, 4: 0xff, 5: 0xff, 6: 0xff, 7: 0xff, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff, 16: 0xff, 17: 0xff, 18: 0xff, 19: 0xff, 20: 0xff, 21: 0xff, 22: 0xff, 23: 0xff, 24: 0xff, 25: 0xff, 26: 0xff, 27: 0xff, 28: 0xff, 29: 0xff, 30: 0xff, 31: 0x7f}, // −1: order 2
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
}

// checkPoint returns an error for the encoding of a point of small order, or one with a
// y of 2²⁵⁵−19 or more, which has another encoding.
func checkPoint(b [KeySize]byte) error {
	b[KeySize-1] &= 0x7f
	if b[KeySize-1] == 0x7f && b[0] >= 0xed && !slices.ContainsFunc(b[1:KeySize-1], func(v byte) bool { return v != 0xff }) {
		return errors.New("not a canonical Ed25519 key")
	}
	if slices.Contains(smallOrder[:], b) {
		return errors.New("an Ed25519 key of small order")
	}
	return nil
}

// EncodeNodeKey returns the content of [NodeKeyFile]. It reveals the key.
func EncodeNodeKey(k NodeKey) []byte { return fmt.Appendf(nil, "privateKey: %s\n", k.RevealBase64()) }

// ParseNodeKey reads what [EncodeNodeKey] wrote. Errors never quote values.
func ParseNodeKey(data []byte) (NodeKey, error) {
	fields, err := identityFields(data, "privateKey")
	if err != nil {
		return NodeKey{}, wrapIdentityError(NodeKeyFile, err)
	}
	seed, err := ParseSecret(fields["privateKey"])
	if err != nil {
		return NodeKey{}, wrapIdentityError(NodeKeyFile, fmt.Errorf("privateKey: %w", err))
	}
	return NodeKey{seed}, nil
}
