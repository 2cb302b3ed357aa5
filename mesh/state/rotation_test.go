package state

import (
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

// reopened returns what a new process finds.
func reopened(t *testing.T, st *Dir) (Keys, *Rotation) {
	t.Helper()
	keys, err := LoadKeys(st, "", hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenRotation(st, keys.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return keys, r
}

func TestRotation(t *testing.T) {
	st, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	keys, r := reopened(t, st)
	if since, err := r.Since(first); err != nil || !since.Equal(first) || !r.Next().IsZero() {
		t.Errorf("a key that is used for the first time: since %v, %v, next %v", since, err, r.Next())
	}
	_, r = reopened(t, st)
	if since, err := r.Since(first.Add(time.Hour)); err != nil || !since.Equal(first) {
		t.Errorf("after an hour: since %v, %v", since, err)
	}
	if since, err := r.Since(first.Add(-time.Hour)); err != nil || !since.Equal(first.Add(-time.Hour)) {
		t.Errorf("with the clock set back: since %v, %v", since, err)
	}

	if err := r.Begin(); err != nil {
		t.Fatal(err)
	}
	next := r.Next()
	again, r := reopened(t, st)
	if again.PrivateKey.Public() != keys.PrivateKey.Public() || r.Next() != next || next.IsZero() {
		t.Errorf("a new process has the key %v and the next %v", again.PrivateKey.Public(), r.Next())
	}
	begun, err := st.Read(RotationFile)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(st.Path(RotationFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	if key, err := r.Switch(first.Add(time.Hour)); err != nil || key.Public() != next {
		t.Errorf("Switch = %v, %v", key.Public(), err)
	}
	again, r = reopened(t, st)
	if since, err := r.Since(first.Add(2 * time.Hour)); err != nil || !since.Equal(first.Add(time.Hour)) || again.PrivateKey.Public() != next || !r.Next().IsZero() {
		t.Errorf("after the switch: since %v, %v, key %v, next %v", since, err, again.PrivateKey.Public(), r.Next())
	}

	if err := st.Replace(RotationFile, begun); err != nil { // the process ended between the two writes
		t.Fatal(err)
	}
	again, r = reopened(t, st)
	if since, err := r.Since(first.Add(3 * time.Hour)); err != nil || !since.Equal(first.Add(3*time.Hour)) || again.PrivateKey.Public() != next || !r.Next().IsZero() {
		t.Errorf("switched, not noted: since %v, %v, key %v, next %v", since, err, again.PrivateKey.Public(), r.Next())
	}
}

func TestRotationFileDamaged(t *testing.T) {
	st, err := Open("memory", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"", "{", `{"Since":1}`, `{"Next":"x"}`, "[]"} {
		if err := st.Replace(RotationFile, []byte(data)); err != nil {
			t.Fatal(err)
		}
		r, err := OpenRotation(st, mesh.NewPrivateKey([32]byte{1}))
		if err != nil || !r.Next().IsZero() {
			t.Errorf("%q: next %v, error %v", data, r.Next(), err)
		}
	}
}

func TestRotationCancelled(t *testing.T) {
	st, err := Open("memory", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, r := reopened(t, st)
	if err := r.Begin(); err != nil {
		t.Fatal(err)
	}
	if err := r.Cancel(); err != nil || !r.Next().IsZero() {
		t.Errorf("next %v, %v", r.Next(), err)
	}
	if _, r = reopened(t, st); !r.Next().IsZero() {
		t.Error("a new process has a next key")
	}
}
