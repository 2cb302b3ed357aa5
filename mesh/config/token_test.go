package config_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func testToken() config.Token {
	return config.Token{
		Servers:   []string{"192.0.2.1:51820", "[2001:db8::1]:51820", "a.example:443"},
		Pin:       [32]byte{4, 5, 6},
		Authority: mesh.NewAuthorityKey([32]byte{1, 2, 3}).Authority(),
		ID:        mesh.EnrolmentID{7, 8, 9},
		Key:       mesh.NewSecret([32]byte{10, 11}),
		Expires:   time.Unix(1_800_000_000, 0).UTC(),
	}
}

func encode(t *testing.T, token config.Token) string {
	t.Helper()
	s, err := token.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rawToken builds a token with a valid checksum from any contents.
func rawToken(contents string) string {
	sum := sha256.Sum256([]byte(contents))
	return "wirespan2." + base64.RawURLEncoding.EncodeToString(append([]byte(contents), sum[:4]...))
}

func TestTokenRoundTrip(t *testing.T) {
	s := encode(t, testToken())
	golden(t, "token.golden", []byte(s+"\n"))
	wrapped := " \t" + s[:40] + "\r\n    " + s[40:90] + "\n" + s[90:] + "\n\n"
	for _, in := range []string{s, wrapped} {
		got, err := config.ParseToken(in)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, testToken()) {
			t.Error("the token differs")
		}
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	s := encode(t, testToken())
	for n := range len(s) {
		if _, err := config.ParseToken(s[:n]); err == nil {
			t.Errorf("the first %d of %d characters are taken for a token", n, len(s))
		}
	}
	for i := len("wirespan2."); i < len(s); i++ {
		garbled := s[:i] + string(s[i]^1) + s[i+1:]
		if _, err := config.ParseToken(garbled); err == nil {
			t.Errorf("a change of character %d goes unnoticed", i)
		}
	}
}

func TestTokenErrors(t *testing.T) {
	valid := encode(t, testToken())
	key := base64.StdEncoding.EncodeToString(append([]byte{1}, make([]byte, 31)...))
	authority := mesh.NewAuthorityKey([32]byte{1}).Authority().String()
	fields := func(last string) string { // of two fields with the same name the last one counts
		return rawToken(`{"u":["a:1"],"p":"` + key + `","a":"` + authority + `","i":"AAAAAAAAAAA=","k":"` + key + `","e":1,` + last + `}`)
	}
	for _, tt := range []struct{ name, token, want string }{
		{"empty", " \n", "join token: empty"},
		{"other text", "https://example.org", `join token: unknown format: a token begins with "wirespan2."`},
		{"other version", "wirespan1." + valid[10:], `join token: incomplete, or made by another version: a token begins with "wirespan2."`},
		{"prefix only", "wirespan2.", "join token: incomplete or damaged: copy the whole token again"},
		{"truncated", valid[:len(valid)-4], "join token: incomplete or damaged: copy the whole token again"},
		{"checksum", valid[:10] + "f" + valid[11:], "join token: incomplete or damaged: copy the whole token again"},
		{"other alphabet", valid + "+", "join token: incomplete or damaged: copy the whole token again"},
		{"too long", "wirespan2." + strings.Repeat("A", 4096), "join token: more than 4096 characters"},
		{"far too long", strings.Repeat(" ", 9000), "join token: more than 4096 characters"},
		{"not JSON", rawToken("hello"), "join token: unexpected contents"},
		{"trailing data", rawToken("{}{}"), "join token: unexpected contents"},
		{"unknown field", rawToken(`{"x":1}`), "join token: unexpected contents"},
		{"no key", rawToken(`{"u":["a:1"]}`), "join token: a key or the pin has the wrong length"},
		{"weak authority", fields(`"a":"` + key + `"`), "join token: the mesh's authority: an Ed25519 key of small order"},
		{"no server", fields(`"u":[]`), "join token: 0 servers, not 1 to 32"},
		{"server without port", fields(`"u":["a"]`), "join token: a server address is not host:port"},
		{"no time", fields(`"e":0`), "join token: the time at which it expires is out of range"},
		{"far time", fields(`"e":9223372036854775807`), "join token: the time at which it expires is out of range"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := config.ParseToken(tt.token)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if !reflect.DeepEqual(token, config.Token{}) {
				t.Error("a refused token yields contents")
			}
		})
	}
}

func TestEncodeRefusesWhatCannotBeRead(t *testing.T) {
	for _, tt := range []struct {
		change func(*config.Token)
		want   string
	}{
		{func(t *config.Token) { t.Key = mesh.Secret{} }, "join token: no key"},
		{func(t *config.Token) { t.Authority = mesh.Authority{} }, "join token: the mesh's authority: an Ed25519 key of small order"},
		{func(t *config.Token) { t.Expires = time.Time{} }, "join token: the time at which it expires is out of range"},
		{func(t *config.Token) { t.Pin = [32]byte{} }, "join token: no pin of the server's key"},
		{func(t *config.Token) { t.Servers = make([]string, 33) }, "join token: 33 servers, not 1 to 32"},
		{func(t *config.Token) {
			t.Servers = nil
			for range 32 {
				t.Servers = append(t.Servers, strings.Repeat(strings.Repeat("a", 50)+".", 3)+"example:51820")
			}
		}, "join token: 7485 characters, at most 4096: name fewer servers"},
	} {
		token := testToken()
		tt.change(&token)
		if _, err := token.Encode(); err == nil || err.Error() != tt.want {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

func TestTokenPrintsNothing(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, v := range []any{testToken(), struct{ T config.Token }{testToken()}} {
			if out := fmt.Sprintf(verb, v); !strings.Contains(out, "(join token)") || strings.Contains(out, "192.0.2.1") {
				t.Errorf("%s: %s", verb, out)
			}
		}
	}
}
