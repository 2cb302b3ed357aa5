package mesh

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// KeySize is the length of every WireGuard key and of the cluster secret, in bytes.
const KeySize = 32

// Key is a WireGuard public key (Curve25519, RFC 7748). The zero Key means "none".
type Key [KeySize]byte

// ParseKey reads the standard base64 form that wg(8) prints, 44 characters.
func ParseKey(s string) (Key, error) {
	b, err := decode32(s)
	if err != nil {
		return Key{}, fmt.Errorf("public key %.60q: %w", s, err)
	}
	return Key(b), nil
}

// String returns the standard base64 form.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// IsZero reports whether k is the zero Key.
func (k Key) IsZero() bool { return k == Key{} }

// Compare orders keys by their base64 form, as Talos sorts peers. It encodes only
// the first group of three bytes that differs.
func (k Key) Compare(o Key) int {
	for i := 0; i < KeySize; i += 3 {
		end := min(i+3, KeySize)
		if !bytes.Equal(k[i:end], o[i:end]) {
			var a, b [4]byte
			base64.StdEncoding.Encode(a[:], k[i:end])
			base64.StdEncoding.Encode(b[:], o[i:end])
			return bytes.Compare(a[:], b[:])
		}
	}
	return 0
}

// MarshalText returns the base64 form; the zero Key is empty.
func (k Key) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (k *Key) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*k = Key{}
		return nil
	}
	p, err := ParseKey(string(b))
	if err == nil {
		*k = p
	}
	return err
}

// Secret holds 32 bytes that must never be seen: it does not print, log or encode.
// Only Reveal and RevealBase64 return them, so every use is found by name. The
// zero Secret means "none".
type Secret struct{ b [KeySize]byte }

// NewSecret wraps b.
func NewSecret(b [KeySize]byte) Secret { return Secret{b} }

// ParseSecret reads standard base64 of exactly 32 bytes. Errors never quote s.
func ParseSecret(s string) (Secret, error) {
	b, err := decode32(s)
	return Secret{b}, err
}

// Format prints a placeholder for every verb.
func (Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "(secret)") }

// MarshalText returns an error: to encode a secret, call Reveal.
func (Secret) MarshalText() ([]byte, error) { return nil, errors.New("secret: use Reveal") }

// IsZero reports whether the secret is unset.
func (s Secret) IsZero() bool { return s == Secret{} }

// Reveal returns the bytes.
func (s Secret) Reveal() [KeySize]byte { return s.b }

// RevealBase64 returns the standard base64 form, as files and wg(8) hold it.
func (s Secret) RevealBase64() string { return base64.StdEncoding.EncodeToString(s.b[:]) }

// PrivateKey is a WireGuard private key.
type PrivateKey struct{ Secret }

// NewPrivateKey clamps 32 random bytes into a Curve25519 private key (RFC 7748 §5).
func NewPrivateKey(random [KeySize]byte) PrivateKey {
	random[0] &= 248
	random[31] = random[31]&127 | 64
	return PrivateKey{Secret{random}}
}

// ParsePrivateKey reads standard base64 of exactly 32 bytes. Errors never quote s.
func ParsePrivateKey(s string) (PrivateKey, error) {
	sec, err := ParseSecret(s)
	return PrivateKey{sec}, err
}

// Public derives the public key.
func (p PrivateKey) Public() Key {
	k, err := ecdh.X25519().NewPrivateKey(p.b[:])
	if err != nil { // only for a wrong length, which the type rules out
		panic(err)
	}
	return Key(k.PublicKey().Bytes())
}

func decode32(s string) (out [KeySize]byte, err error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return out, errors.New("not standard base64")
	}
	if len(b) != KeySize {
		return out, fmt.Errorf("expected %d bytes, got %d", KeySize, len(b))
	}
	return [KeySize]byte(b), nil
}
