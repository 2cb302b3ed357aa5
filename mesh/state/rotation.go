package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// RotationFile holds the next WireGuard key while others prepare for it, and since when
// the present one is used.
const RotationFile = "key-rotation.json"

// Rotation changes the WireGuard key of the identity files. The files always name one key:
// the present one until [Rotation.Switch] replaces it with the next.
type Rotation struct {
	state *Dir
	since time.Time // zero: not known
	next  mesh.PrivateKey
}

// rotationDocument is the content of RotationFile.
type rotationDocument struct {
	Since time.Time
	Next  string `json:",omitempty"` // base64
}

// OpenRotation reads how far an earlier process came with the change of a key. A file that
// is damaged counts as missing: the interval begins anew, and a next key is forgotten.
func OpenRotation(st *Dir, present mesh.PrivateKey) (*Rotation, error) {
	r := &Rotation{state: st}
	data, err := st.Read(RotationFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	var doc rotationDocument
	if json.Unmarshal(data, &doc) != nil {
		return r, nil
	}
	r.since = doc.Since
	if next, err := mesh.ParsePrivateKey(doc.Next); err == nil && next.Public() != present.Public() {
		r.next = next
	} else if err == nil {
		r.since = time.Time{} // the process ended after the switch, before it noted that
	}
	return r, nil
}

// Next returns the next key's public half; zero if there is none.
func (r *Rotation) Next() mesh.Key {
	if r.next.IsZero() {
		return mesh.Key{}
	}
	return r.next.Public()
}

// Since returns since when the present key counts as used: now, if that is not known.
func (r *Rotation) Since(now time.Time) (time.Time, error) {
	if !r.since.IsZero() && !r.since.After(now) {
		return r.since, nil
	}
	return now, r.write(now, r.next)
}

// Begin makes a next key.
func (r *Rotation) Begin() error { return r.write(r.since, mesh.NewPrivateKey(random32())) }

// Cancel forgets the next key.
func (r *Rotation) Cancel() error { return r.write(r.since, mesh.PrivateKey{}) }

// Switch makes the next key the present one and returns it. The identity is written
// first: from then on a new process uses this key.
func (r *Rotation) Switch(now time.Time) (mesh.PrivateKey, error) {
	key := r.next
	if key.IsZero() {
		return key, errors.New("changing the WireGuard key: there is no next one")
	}
	identity := mesh.EncodeKubeSpanIdentity(mesh.Identity{PrivateKey: key, PublicKey: key.Public()})
	if err := r.state.Replace(mesh.KubeSpanIdentityFile, identity); err != nil {
		return mesh.PrivateKey{}, err
	}
	r.next = mesh.PrivateKey{}
	return key, r.write(now, r.next)
}

func (r *Rotation) write(since time.Time, next mesh.PrivateKey) error {
	doc := rotationDocument{Since: since.UTC()}
	if !next.IsZero() {
		doc.Next = next.RevealBase64()
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", RotationFile, err)
	}
	if err := r.state.Replace(RotationFile, append(data, '\n')); err != nil {
		return err
	}
	r.since, r.next = since, next
	return nil
}
