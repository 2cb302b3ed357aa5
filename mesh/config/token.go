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
	"time"
	"unicode"

	"github.com/wirespan/wirespan/mesh"
)

// Limits of a join token.
const (
	MaxTokenServers = 32
	maxTokenBytes   = 4096 // encoded
)

const (
	tokenPrefix   = "wirespan2." // the number changes whenever the contents change
	tokenChecksum = 4            // bytes of SHA-256 after the contents
	maxTokenTime  = 1 << 37      // Unix time; the year 6325
)

// Token is what a host needs to ask a mesh's founder for membership: where the founder's
// server is, how to know it, and a key that the founder takes a limited number of times.
// It holds no secret of the mesh. It prints as "(join token)".
type Token struct {
	Servers   []string       // host:port, the addresses of the founder's discovery server
	Pin       [32]byte       // SHA-256 of the server's SubjectPublicKeyInfo
	Authority mesh.Authority // of the mesh
	ID        mesh.EnrolmentID
	Key       mesh.Secret
	Expires   time.Time // to the second
}

// tokenContents is a Token as JSON; short names keep the token short.
type tokenContents struct {
	Servers   []string `json:"u"`
	Pin       []byte   `json:"p"`
	Authority []byte   `json:"a"`
	ID        []byte   `json:"i"`
	Key       []byte   `json:"k"`
	Expires   int64    `json:"e"` // Unix time
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
	key := t.Key.Reveal()
	contents, err := json.Marshal(tokenContents{t.Servers, t.Pin[:], t.Authority[:], t.ID[:], key[:], t.Expires.Unix()})
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
	if len(c.Pin) != len(t.Pin) || len(c.Authority) != len(t.Authority) || len(c.ID) != len(t.ID) || len(c.Key) != mesh.KeySize {
		return t, errors.New("a key or the pin has the wrong length")
	}
	read := Token{
		c.Servers, [32]byte(c.Pin), mesh.Authority(c.Authority),
		mesh.EnrolmentID(c.ID), mesh.NewSecret([mesh.KeySize]byte(c.Key)), time.Unix(c.Expires, 0).UTC(),
	}
	return read, read.check()
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
	case t.Key.IsZero():
		return errors.New("no key")
	case t.Authority.Check() != nil:
		return fmt.Errorf("the mesh's authority: %w", t.Authority.Check())
	case t.Expires.Unix() <= 0 || t.Expires.Unix() > maxTokenTime:
		return errors.New("the time at which it expires is out of range")
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
