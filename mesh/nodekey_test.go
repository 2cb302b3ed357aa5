package mesh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"strings"
	"testing"
)

func TestNodeKey(t *testing.T) {
	key, other := NewNodeKey([32]byte{1}), NewNodeKey([32]byte{2})
	message := []byte("m")
	sig := key.Sign(message)
	if err := VerifyNode(key.NodeID(), message, sig[:]); err != nil {
		t.Error(err)
	}
	flipped := sig
	flipped[3] ^= 1
	for name, err := range map[string]error{
		"another node":    VerifyNode(other.NodeID(), message, sig[:]),
		"another message": VerifyNode(key.NodeID(), []byte("n"), sig[:]),
		"one bit":         VerifyNode(key.NodeID(), message, flipped[:]),
		"cut short":       VerifyNode(key.NodeID(), message, sig[:63]),
		"no node id":      VerifyNode("!", message, sig[:]),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if data := EncodeNodeKey(key); !bytes.Contains(data, []byte(key.RevealBase64())) {
		t.Errorf("encoded as %q", data)
	} else if back, err := ParseNodeKey(data); err != nil || back != key {
		t.Errorf("read back: %v", err)
	}
	for _, bad := range []string{"", "privateKey: AAAA\n", "privateKey: \n", "publicKey: x\n"} {
		if _, err := ParseNodeKey([]byte(bad)); err == nil || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

// With a key of small order, the signature R = identity, S = 0 fits many messages.
func TestVerifyNodeRefusesWeakKeys(t *testing.T) {
	var forged [64]byte
	forged[0] = 1
	taken := 0
	for _, y := range smallOrder {
		for _, sign := range []byte{0, 0x80} {
			b := y
			b[31] |= sign
			for i := range 64 {
				message := []byte{byte(i)}
				if ed25519.Verify(b[:], message, forged[:]) {
					taken++
				}
				if VerifyNode(NodeIDFromBytes(b), message, forged[:]) == nil {
					t.Fatalf("a forged signature by %x is accepted", b)
				}
			}
		}
	}
	if taken == 0 {
		t.Error("the forged signatures test nothing: crypto/ed25519 refuses them all")
	}
	nonCanonical := [32]byte{0xee, 31: 0x7f} // 1 + the prime
	for i := 1; i < 31; i++ {
		nonCanonical[i] = 0xff
	}
	for _, b := range [][32]byte{nonCanonical, smallOrder[3]} {
		if checkPoint(b) == nil {
			t.Errorf("%x is accepted", b)
		}
	}
	if err := checkPoint([32]byte{0xec, 31: 0x7e}); err != nil {
		t.Error(err)
	}
}

// Two nodes compute the same, a third one does not, and keys that would give everybody the same are
// refused.
func TestShared(t *testing.T) {
	a, b, c := NewNodeKey([32]byte{1}), NewNodeKey([32]byte{2}), NewNodeKey([32]byte{3})
	ab, err := a.Shared(b.NodeID())
	ba, err2 := b.Shared(a.NodeID())
	if err != nil || err2 != nil || ab != ba || ab.IsZero() {
		t.Errorf("two nodes do not share: %v, %v", err, err2)
	}
	if cb, err := c.Shared(b.NodeID()); err != nil || cb == ab {
		t.Errorf("a third node has what two share: %v", err)
	}
	for _, y := range smallOrder {
		if _, err := a.Shared(NodeIDFromBytes(y)); err == nil {
			t.Errorf("%x: accepted", y)
		}
	}
	if _, err := a.Shared("!"); err == nil {
		t.Error("no node id is accepted")
	}
}

// The base point of Ed25519 is that of X25519, and any key has the public half of its scalar.
func TestMontgomery(t *testing.T) {
	base := [32]byte{0x58}
	for i := 1; i < 32; i++ {
		base[i] = 0x66
	}
	if got := montgomery(base); got != [32]byte{9} {
		t.Errorf("the base point has u %x", got)
	}
	for i := range byte(20) {
		key := NewNodeKey([32]byte{i})
		scalar := sha512.Sum512(key.b[:])
		want := NewPrivateKey([32]byte(scalar[:32])).Public()
		if got := montgomery([32]byte(key.private().Public().(ed25519.PublicKey))); got != want {
			t.Errorf("%d: u is %x, want %x", i, got, want)
		}
	}
}
