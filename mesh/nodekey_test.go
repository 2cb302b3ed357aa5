package mesh

import (
	"bytes"
	"crypto/ed25519"
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
