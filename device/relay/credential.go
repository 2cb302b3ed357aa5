package relay

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Realm is the realm of our own servers.
const Realm = "wirespan"

// ALPN is what clients say over TLS that they speak (RFC 7443), so that a relay may share its
// port.
const ALPN = "stun.turn"

// Lifetimes of credentials.
const (
	// CredentialLifetime is for how long credentials are made.
	CredentialLifetime = time.Hour
	// MaxCredentialLifetime is for how long they may be valid: clocks differ.
	MaxCredentialLifetime = 2 * CredentialLifetime
)

// Sizes of what a user name says of a node's id, and of a key, in bytes.
const (
	digestSize = 16
	keyIDSize  = 4
)

// Why a user name is refused.
var (
	ErrCredentialExpired = errors.New("the credentials are expired by the relay's clock: make new ones, and check the clocks of both nodes")
	ErrCredentialFuture  = errors.New("the credentials are valid for too long by the relay's clock: check the clocks of both nodes")
	ErrCredentialForm    = errors.New("the user name is not EXPIRY:NODE:KEY, as a member's is")
)

// Key makes and checks the credentials of a mesh's members. It follows from the cluster's
// secret; whoever has that can make credentials for every member.
type Key struct{ Secret mesh.Secret }

// NewKey returns the key of a cluster (HKDF-SHA256, RFC 5869).
func NewKey(clusterID string, secret mesh.Secret) Key {
	b := secret.Reveal()
	key, err := hkdf.Key(sha256.New, b[:], nil, "wirespan relay\x00"+clusterID, mesh.KeySize)
	if err != nil { // only for more bytes than HKDF has
		panic(err)
	}
	return Key{mesh.NewSecret([mesh.KeySize]byte(key))}
}

// ID returns by what name user names call the key: a mesh that changes its secret has two.
func (k Key) ID() string {
	b := k.Secret.Reveal()
	mac := hmac.New(sha256.New, b[:])
	mac.Write([]byte("id"))
	return hex.EncodeToString(mac.Sum(nil)[:keyIDSize])
}

// User returns what stands for a node in user names: a digest of its id, which says nothing to
// those who do not know the id.
func User(nodeID string) string {
	sum := sha256.Sum256([]byte("wirespan relay user\x00" + nodeID))
	return hex.EncodeToString(sum[:digestSize])
}

// Credentials are a user name and a password. The password never prints.
type Credentials struct {
	Username string
	Password Password
}

// Password is a secret text.
type Password struct{ text string }

// NewPassword wraps a password, such as that of a foreign server.
func NewPassword(text string) Password { return Password{text} }

// Format prints a placeholder for every verb.
func (Password) Format(w fmt.State, _ rune) { _, _ = w.Write([]byte("(password)")) }

// Reveal returns the text.
func (p Password) Reveal() string { return p.text }

// Credentials returns those of a node, valid for CredentialLifetime. The user name is
// EXPIRY:USER:KEY, the password base64 of its HMAC. The time is that of the relay.
func (k Key) Credentials(nodeID string, now time.Time) Credentials {
	username := strconv.FormatInt(now.Add(CredentialLifetime).Unix(), 10) + ":" + User(nodeID) + ":" + k.ID()
	return Credentials{username, k.Password(username)}
}

// Password returns the password of a user name.
func (k Key) Password(username string) Password {
	b := k.Secret.Reveal()
	mac := hmac.New(sha256.New, b[:])
	mac.Write([]byte(username))
	return Password{base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}

// ParseUsername returns the user of a user name that is valid now, and the ID of the key that
// the password is made with.
func ParseUsername(username string, now time.Time) (user, keyID string, err error) {
	expiry, rest, _ := strings.Cut(username, ":")
	user, keyID, _ = strings.Cut(rest, ":")
	seconds, err := strconv.ParseUint(expiry, 10, 40)
	if err != nil || !isHex(user, digestSize) || !isHex(keyID, keyIDSize) {
		return "", "", ErrCredentialForm
	}
	until := time.Unix(int64(seconds), 0)
	switch {
	case !now.Before(until):
		return "", "", ErrCredentialExpired
	case until.Sub(now) > MaxCredentialLifetime:
		return "", "", ErrCredentialFuture
	}
	return user, keyID, nil
}

// isHex reports whether a text is a number of bytes in hexadecimal.
func isHex(s string, size int) bool {
	return len(s) == 2*size && strings.Trim(s, "0123456789abcdef") == ""
}
