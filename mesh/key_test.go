package mesh

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) [KeySize]byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != KeySize {
		t.Fatalf("%q: %v", s, err)
	}
	return [KeySize]byte(b)
}

// The key pairs of RFC 7748 §6.1.
func TestPublicKey(t *testing.T) {
	for priv, pub := range map[string]string{
		"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a": "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
	} {
		if got := (PrivateKey{NewSecret(unhex(t, priv))}).Public(); got != Key(unhex(t, pub)) {
			t.Errorf("public key of %s is %x, want %s", priv, got, pub)
		}
	}
}

func TestNewPrivateKeyClamps(t *testing.T) {
	var ones [KeySize]byte
	for i := range ones {
		ones[i] = 0xff
	}
	b := NewPrivateKey(ones).Reveal()
	if b[0] != 0xf8 || b[31] != 0x7f || b[1] != 0xff {
		t.Errorf("clamped to %x", b)
	}
	if b = NewPrivateKey([KeySize]byte{}).Reveal(); b[0] != 0 || b[31] != 0x40 {
		t.Errorf("zero clamped to %x", b)
	}
}

func TestKeyText(t *testing.T) {
	k := testKey("a")
	b, err := k.MarshalText()
	if err != nil || string(b) != k.String() || len(b) != 44 {
		t.Errorf("MarshalText = %q, %v", b, err)
	}
	var back Key
	if err := back.UnmarshalText(b); err != nil || back != k {
		t.Errorf("UnmarshalText = %v, %v", back, err)
	}
	if err := back.UnmarshalText([]byte("AAAA")); err == nil || back != k {
		t.Errorf("a bad key is read as %v, %v", back, err)
	}
	if err := back.UnmarshalText(nil); err != nil || !back.IsZero() {
		t.Errorf("no key is read as %v, %v", back, err)
	}
	if b, err := back.MarshalText(); err != nil || len(b) != 0 {
		t.Errorf("no key is written as %q, %v", b, err)
	}
	for s, want := range map[string]string{
		"":                       "got 0",
		"AAAA":                   "got 3",
		"!":                      "not standard base64",
		strings.Repeat("A", 200): "got 150",
		strings.ReplaceAll(k.String(), k.String()[:1], "-"): "not standard base64",
	} {
		if got, err := ParseKey(s); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 150 {
			t.Errorf("ParseKey(%q) = %v, %v; want %q in a short error", s, got, err, want)
		}
	}
}

// A secret is never printed by accident, neither alone nor inside another value.
func TestSecretsDoNotPrint(t *testing.T) {
	id := testIdentity()
	in := testInput()
	in.Self = id
	in.Config.ClusterSecret = id.PrivateKey.Secret
	raw := id.PrivateKey.Reveal()
	forms := []string{id.PrivateKey.RevealBase64()[:8], hex.EncodeToString(raw[:4]), fmt.Sprint(raw[:4])[1:8]}
	for _, v := range []any{id.PrivateKey, &id.PrivateKey, id.PrivateKey.Secret, id, &id, in, Decide(in, testNow)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, v)
			for _, form := range forms {
				if strings.Contains(text, form) {
					t.Errorf("%s of %T shows the secret as %s", verb, v, form)
				}
			}
		}
		if b, err := json.Marshal(v); err == nil && strings.Contains(string(b), id.PrivateKey.RevealBase64()[:8]) {
			t.Errorf("%T encodes as JSON: %s", v, b)
		}
	}
	if b, err := json.Marshal(id.PrivateKey); err == nil {
		t.Errorf("a private key encodes as JSON: %s", b)
	}
	for _, s := range []string{id.PrivateKey.RevealBase64()[:40], id.PrivateKey.RevealBase64() + "!"} {
		if _, err := ParsePrivateKey(s); err == nil || strings.Contains(err.Error(), s[:8]) {
			t.Errorf("a bad private key: error %v", err)
		}
	}
}
