package proxy

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
)

// credentials are what clients must know. Only digests are kept.
type credentials struct {
	needed         bool
	user, password [sha256.Size]byte
}

func newCredentials(user, password string) (credentials, error) {
	switch {
	case user == "" && password == "":
		return credentials{}, nil
	case user == "" || password == "":
		return credentials{}, errors.New("proxy: set both User and Password, or neither")
	case len(user) > maxCredential || len(password) > maxCredential:
		return credentials{}, errors.New("proxy: User and Password have at most 255 bytes each")
	case strings.Contains(user, ":"):
		return credentials{}, errors.New("proxy: User contains a colon, which HTTP cannot transfer")
	}
	return credentials{true, sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))}, nil
}

// match compares in constant time. Without a password, everything matches: a client that
// insists on sending one is welcome, too.
func (c credentials) match(user, password string) bool {
	if !c.needed {
		return true
	}
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(u[:], c.user[:])&subtle.ConstantTimeCompare(p[:], c.password[:]) == 1
}

// matchHeader checks the value of Proxy-Authorization (RFC 7617). given reports whether
// there were credentials at all.
func (c credentials) matchHeader(value string) (ok, given bool) {
	if !c.needed || value == "" {
		return !c.needed, false
	}
	scheme, encoded, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return false, true
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return false, true
	}
	user, password, _ := strings.Cut(string(plain), ":")
	return c.match(user, password), true
}

// method chooses one of the methods of SOCKS5 that a client offers.
func (c credentials) method(offered []byte) byte {
	switch {
	case !c.needed && bytes.IndexByte(offered, methodNone) >= 0:
		return methodNone
	case bytes.IndexByte(offered, methodPassword) >= 0:
		return methodPassword
	}
	return methodUnaccepted
}
