package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wirespan/wirespan/mesh"
)

// Limits of a join token.
const (
	MaxTokenServers = 32
	maxTokenBytes   = 4096 // encoded
)

const (
	tokenPrefix   = "wirespan1." // the number changes whenever the contents change
	tokenChecksum = 4            // bytes of SHA-256 after the contents
)

// Token holds all that a host needs to join a cluster. It is a secret as a whole
// and prints as "(join token)".
type Token struct {
	ClusterID string
	Secret    mesh.Secret
	Servers   []string // host:port, the addresses of one discovery server
	Pin       [32]byte // SHA-256 of the server's SubjectPublicKeyInfo
}

// tokenContents is a Token as JSON; short names keep the token short.
type tokenContents struct {
	ClusterID string   `json:"c"`
	Secret    []byte   `json:"s"`
	Servers   []string `json:"u"`
	Pin       []byte   `json:"p"`
}

var _ fmt.Formatter = Token{}

// Format prints a placeholder for every verb: fmt calls it for any Token.
func (Token) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "(join token)") }

// Encode returns the token as one word that survives terminals and mail. What
// [ParseToken] would not read back is an error.
func (t Token) Encode() (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	secret := t.Secret.Reveal()
	contents, err := json.Marshal(tokenContents{t.ClusterID, secret[:], t.Servers, t.Pin[:]})
	if err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	s := tokenPrefix + base64.RawURLEncoding.EncodeToString(append(contents, checksum(contents)...))
	if len(s) > maxTokenBytes {
		return "", fmt.Errorf("join token: %d characters, at most %d: name fewer servers", len(s), maxTokenBytes)
	}
	return s, nil
}

// ParseToken reads a token and ignores white space in and around it. Errors never
// quote the token.
func ParseToken(s string) (Token, error) {
	t, err := parseToken(s)
	if err != nil {
		return Token{}, fmt.Errorf("join token: %w", err)
	}
	return t, nil
}

func parseToken(s string) (t Token, err error) {
	if len(s) > 2*maxTokenBytes {
		return t, fmt.Errorf("more than %d characters", maxTokenBytes)
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > maxTokenBytes {
		return t, fmt.Errorf("more than %d characters", maxTokenBytes)
	}
	encoded, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		return t, wrongPrefix(s)
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	split := len(data) - tokenChecksum
	if err != nil || split <= 0 || !bytes.Equal(data[split:], checksum(data[:split])) {
		return t, errors.New("incomplete or damaged: copy the whole token again")
	}
	contents := data[:split]
	var c tokenContents
	decoder := json.NewDecoder(bytes.NewReader(contents))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&c) != nil || decoder.InputOffset() != int64(len(contents)) {
		return t, errors.New("unexpected contents")
	}
	if len(c.Secret) != mesh.KeySize || len(c.Pin) != len(t.Pin) {
		return t, errors.New("the secret or the pin has the wrong length")
	}
	t = Token{c.ClusterID, mesh.NewSecret([mesh.KeySize]byte(c.Secret)), c.Servers, [32]byte(c.Pin)}
	return t, t.check()
}

func checksum(contents []byte) []byte {
	sum := sha256.Sum256(contents)
	return sum[:tokenChecksum]
}

func wrongPrefix(s string) error {
	switch {
	case s == "":
		return errors.New("empty")
	case strings.HasPrefix(s, "wirespan"):
		return fmt.Errorf("incomplete, or made by another version: a token begins with %q", tokenPrefix)
	}
	return fmt.Errorf("unknown format: a token begins with %q", tokenPrefix)
}

// check checks a token before it is written and after it was read.
func (t Token) check() error {
	switch {
	case t.ClusterID == "" || len(t.ClusterID) > maxClusterID:
		return fmt.Errorf("the cluster id has %d bytes, not 1 to %d", len(t.ClusterID), maxClusterID)
	case !utf8.ValidString(t.ClusterID):
		return errors.New("the cluster id is not UTF-8")
	case t.Secret.IsZero():
		return errors.New("no secret")
	case t.Pin == [32]byte{}:
		return errors.New("no pin of the server's key")
	case len(t.Servers) == 0 || len(t.Servers) > MaxTokenServers:
		return fmt.Errorf("%d servers, not 1 to %d", len(t.Servers), MaxTokenServers)
	}
	for _, server := range t.Servers {
		if host, port, err := splitHostPort(server); err != nil || host == "" || port == 0 {
			return errors.New("a server address is not host:port")
		}
	}
	return nil
}
