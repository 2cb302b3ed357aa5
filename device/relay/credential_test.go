package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

var (
	now  = time.Unix(1_800_000_000, 0)
	key  = NewKey("cluster", mesh.NewSecret([mesh.KeySize]byte{1}))
	mine = key.Credentials("node", now)
)

func TestParseUsername(t *testing.T) {
	user, end := User("node"), ":"+key.ID()
	for name, tt := range map[string]struct {
		username string
		at       time.Time
		err      error
	}{
		"new":                 {mine.Username, now, nil},
		"old":                 {mine.Username, now.Add(CredentialLifetime - time.Second), nil},
		"expired":             {mine.Username, now.Add(CredentialLifetime), ErrCredentialExpired},
		"relay a bit behind":  {mine.Username, now.Add(-CredentialLifetime), nil},
		"relay far behind":    {mine.Username, now.Add(-CredentialLifetime - time.Second), ErrCredentialFuture},
		"relay in 1970":       {mine.Username, time.Unix(0, 0), ErrCredentialFuture},
		"no user":             {"1800000100:" + end, now, ErrCredentialForm},
		"no expiry":           {user, now, ErrCredentialForm},
		"negative":            {"-1:" + user + end, now, ErrCredentialForm},
		"too large":           {"99999999999999:" + user + end, now, ErrCredentialForm},
		"upper case":          {"1800000100:" + strings.ToUpper(user) + end, now, ErrCredentialForm},
		"user with separator": {"1800000100:" + user[:31] + ":" + end, now, ErrCredentialForm},
		"no key":              {"1800000100:" + user, now, ErrCredentialForm},
		"more after the key":  {mine.Username + ":", now, ErrCredentialForm},
		"empty":               {"", now, ErrCredentialForm},
	} {
		got, id, err := ParseUsername(tt.username, tt.at)
		if !errors.Is(err, tt.err) || tt.err == nil && (err != nil || got != user || id != key.ID()) {
			t.Errorf("%s: %q, %v; want %v", name, got, err, tt.err)
		}
	}
}

func TestKeyDependsOn(t *testing.T) {
	for name, other := range map[string]Key{
		"the secret":  NewKey("cluster", mesh.NewSecret([mesh.KeySize]byte{2})),
		"the cluster": NewKey("other", mesh.NewSecret([mesh.KeySize]byte{1})),
	} {
		if other.Password(mine.Username) == mine.Password {
			t.Errorf("the password does not depend on %s", name)
		}
	}
	if key.Password("1800003601:"+User("node")+":"+key.ID()) == mine.Password {
		t.Error("the password does not depend on the expiry")
	}
	// What nodes of different versions agree on.
	if got, want := mine.Username, "1800003600:"+User("node")+":"+key.ID(); got != want {
		t.Errorf("the user name is %q, want %q", got, want)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	text := fmt.Sprintf("%v %+v %#v %s %v %+v", mine, mine, mine, mine.Password, key, key)
	if strings.Contains(text, mine.Password.Reveal()) || strings.Count(text, "(password)") != 4 || strings.Count(text, "(secret)") != 2 {
		t.Error(text)
	}
}

func FuzzParseUsername(f *testing.F) {
	f.Add(mine.Username)
	f.Fuzz(func(t *testing.T, username string) {
		user, id, err := ParseUsername(username, now)
		if err == nil && (len(user) != 2*digestSize || !strings.HasSuffix(username, ":"+user+":"+id)) {
			t.Errorf("%q: %q", username, user)
		}
	})
}
