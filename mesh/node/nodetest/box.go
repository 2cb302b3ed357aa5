package nodetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// Box is what a node keeps from one start to the next. Nodes of [Mesh.Start] keep
// nothing but their name; see [Mesh.Boot].
type Box struct {
	Name string // hostname and nodename
	Dir  string // the state directory

	Settings string // more lines of its WirespanConfig document

	own bool // it is a member of a founded mesh
}

// Box returns a new box, which has not started yet.
func (m *Mesh) Box() Box {
	m.t.Helper()
	return Box{Name: m.name(), Dir: emptyDir(m.t)}
}

// name returns the next name: node-1, node-2, …
func (m *Mesh) name() string {
	m.nodes++
	return fmt.Sprintf("node-%d", m.nodes)
}

// Copy returns a box with the same name and the same state, as a backup or a cloned disk
// has. It can be made while the node runs.
func (b Box) Copy(t *testing.T) Box {
	t.Helper()
	dir := emptyDir(t)
	entries, err := os.ReadDir(b.Dir)
	for _, e := range entries {
		data, failed := os.ReadFile(filepath.Join(b.Dir, e.Name()))
		err = errors.Join(err, failed, os.WriteFile(filepath.Join(dir, e.Name()), data, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	b.Dir = dir
	return b
}

// Member returns a new box that has joined a mesh founded by wirespan, which has no Talos
// nodes. Its members have the same cluster as other nodes, but under rules of their own.
func (m *Mesh) Member() Box {
	m.t.Helper()
	b := m.Box()
	b.own = true
	b.join(m.t)
	return b
}

// join makes the state that joining leaves.
func (b Box) join(t *testing.T) {
	t.Helper()
	st, err := state.Open(b.Dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := mesh.ParseSecret(clusterSecret)
	if err == nil {
		authority := mesh.NewAuthorityKey([32]byte{1}).Authority()
		err = state.SaveCluster(st, &state.Cluster{ID: clusterID, Secret: secret, Authority: authority, Servers: []string{"hub.example:443"}, Pin: [32]byte{1}})
	}
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
}

// Reinstall returns a box with the same name and no state but that of joining again.
func (b Box) Reinstall(t *testing.T) Box {
	t.Helper()
	b.Dir = emptyDir(t)
	if b.own {
		b.join(t)
	}
	return b
}

// emptyDir returns a directory that only its owner can read.
func emptyDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
