package mesh

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
)

// AuthorityKeyFile is the name of the file with the authority key of a mesh. Only the
// node that founded the mesh has it.
const AuthorityKeyFile = "authority-key.yaml"

// Authority is the Ed25519 public key (RFC 8032) of a mesh that wirespan founded. It says
// which mesh that is, for as long as the mesh exists. The zero Authority means "none".
type Authority [KeySize]byte

// ParseAuthority reads what [Authority.String] returns. It refuses the keys that
// [VerifyNode] refuses.
func ParseAuthority(s string) (Authority, error) {
	b, err := decode32(s)
	if err != nil {
		return Authority{}, err
	}
	return Authority(b), Authority(b).Check()
}

// Check returns an error for a key of small order, for which anyone can make signatures,
// and for an encoding that is not canonical.
func (a Authority) Check() error { return checkPoint(a) }

// String returns the standard base64 form.
func (a Authority) String() string { return base64.StdEncoding.EncodeToString(a[:]) }

// AuthorityKey is the Ed25519 seed of an [Authority].
type AuthorityKey struct{ Secret }

// NewAuthorityKey returns the key of a random seed.
func NewAuthorityKey(seed [KeySize]byte) AuthorityKey { return AuthorityKey{Secret{seed}} }

// Authority returns the public key.
func (k AuthorityKey) Authority() Authority {
	return Authority(ed25519.NewKeyFromSeed(k.b[:]).Public().(ed25519.PublicKey))
}

// EncodeAuthorityKey returns the content of [AuthorityKeyFile]. It reveals the key.
func EncodeAuthorityKey(k AuthorityKey) []byte {
	return fmt.Appendf(nil, "privateKey: %s\n", k.RevealBase64())
}

// ParseAuthorityKey reads what [EncodeAuthorityKey] wrote. Errors never quote values.
func ParseAuthorityKey(data []byte) (AuthorityKey, error) {
	fields, err := identityFields(data, "privateKey")
	if err != nil {
		return AuthorityKey{}, wrapIdentityError(AuthorityKeyFile, err)
	}
	seed, err := ParseSecret(fields["privateKey"])
	if err != nil {
		return AuthorityKey{}, wrapIdentityError(AuthorityKeyFile, fmt.Errorf("privateKey: %w", err))
	}
	return AuthorityKey{seed}, nil
}
