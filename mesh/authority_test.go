package mesh

import (
	"crypto/ed25519"
	"strings"
	"testing"
)

func TestAuthority(t *testing.T) {
	key := NewAuthorityKey([32]byte{1})
	public := ed25519.NewKeyFromSeed(append([]byte{1}, make([]byte, 31)...)).Public().(ed25519.PublicKey)
	if Authority(public) != key.Authority() {
		t.Error("not the public key of the seed")
	}
	if back, err := ParseAuthorityKey(EncodeAuthorityKey(key)); err != nil || back != key {
		t.Errorf("the key reads back: %v", err)
	}
	if back, err := ParseAuthority(key.Authority().String()); err != nil || back != key.Authority() {
		t.Errorf("the public key reads back as %v, %v", back, err)
	}
	for _, bad := range []string{"", "privateKey: AAAA\n", "publicKey: x\n"} {
		if _, err := ParseAuthorityKey([]byte(bad)); err == nil || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	for _, bad := range []string{"", "AAAA", Authority{}.String(), Authority{1}.String()} {
		if _, err := ParseAuthority(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
