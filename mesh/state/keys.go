package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

// Keys is the part of an identity that is stored on disk. It does not change while the
// files exist. The address is computed from it and the cluster id.
type Keys struct {
	NodeID     string
	NodeKey    mesh.NodeKey // of NodeID; zero for an id in Talos' form, which can't sign
	PrivateKey mesh.PrivateKey
	Ephemeral  bool // the files are lost at the next boot, or before
}

// Own returns a key that only this node has, and keeps.
func (k *Keys) Own() mesh.Secret {
	if k.NodeKey.IsZero() {
		return mesh.NewSecret(k.PrivateKey.Reveal())
	}
	return k.NodeKey.Secret
}

// LoadKeys reads the identity files and creates those that are missing. If identityDir
// is not empty, the files are there and not in st; it may be read-only if it holds all
// (a mounted Secret, which root may own). A damaged file is an error and is not overwritten.
//
// A node id without a signing key beside it is taken as Talos' form.
func LoadKeys(st *Dir, identityDir string, log hclog.Logger) (Keys, error) {
	ephemeral := identityDir == "" && st.Ephemeral() // a mounted Secret is on a tmpfs, too
	if identityDir != "" {
		var err error
		if st, err = open(identityDir, log, os.Geteuid(), 0); err != nil {
			return Keys{}, fmt.Errorf("identity directory: %w", err)
		}
	}
	node, key, err := loadNode(st)
	if err != nil {
		return Keys{}, fmt.Errorf("error caching node identity: %w", err)
	}
	id, err := loadOrCreate(st, mesh.KubeSpanIdentityFile, mesh.ParseKubeSpanIdentity, func() []byte {
		private := mesh.NewPrivateKey(random32())
		return mesh.EncodeKubeSpanIdentity(mesh.Identity{PrivateKey: private, PublicKey: private.Public()})
	})
	if err != nil {
		return Keys{}, fmt.Errorf("error caching kubespan identity: %w", err)
	}
	return Keys{NodeID: node, NodeKey: key, PrivateKey: id.PrivateKey, Ephemeral: ephemeral}, nil
}

// loadNode reads node id and signing key. The key is written first: an id without one
// would never get it.
func loadNode(st *Dir) (nodeID string, key mesh.NodeKey, err error) {
	var none mesh.NodeKey
	_, missing := st.Read(mesh.NodeIdentityFile)
	_, keyless := st.Read(mesh.NodeKeyFile)
	if missing == nil && errors.Is(keyless, fs.ErrNotExist) {
		nodeID, err = loadOrCreate(st, mesh.NodeIdentityFile, mesh.ParseNodeIdentity, nil)
		return nodeID, none, err
	}
	key, err = loadOrCreate(st, mesh.NodeKeyFile, mesh.ParseNodeKey, func() []byte { return mesh.EncodeNodeKey(mesh.NewNodeKey(random32())) })
	if err != nil {
		return "", none, err
	}
	nodeID, err = loadOrCreate(st, mesh.NodeIdentityFile, mesh.ParseNodeIdentity, func() []byte { return mesh.EncodeNodeIdentity(key.NodeID()) })
	if err == nil && nodeID != key.NodeID() {
		err = fmt.Errorf("%q is not the id of the key in %q: restore both from the same backup, or remove both to become a new node", st.Path(mesh.NodeIdentityFile), mesh.NodeKeyFile)
	}
	return nodeID, key, err
}

// Identity returns this node's identity in a cluster. mac is the hardware address that
// the last bits of the ULA are made of, as in Talos; if it is empty, they are derived
// from the node id.
func (k *Keys) Identity(clusterID string, mac []byte) (id mesh.Identity, err error) {
	subnet := mesh.ULA(clusterID)
	addr := mesh.DerivedAddress(subnet, k.NodeID)
	if len(mac) > 0 {
		if addr, err = mesh.NodeAddress(subnet, mac); err != nil {
			return id, fmt.Errorf("error updating KubeSpan address: %w", err)
		}
	}
	return mesh.Identity{
		NodeID: k.NodeID, Address: addr, Subnet: subnet,
		PrivateKey: k.PrivateKey, PublicKey: k.PrivateKey.Public(),
	}, nil
}

func loadOrCreate[T any](st *Dir, name string, parse func([]byte) (T, error), fresh func() []byte) (value T, err error) {
	data, err := st.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		data = fresh()
		err = st.Create(name, data)
	}
	if err != nil {
		return value, err
	}
	if value, err = parse(data); err != nil {
		err = fmt.Errorf("%q: %w (restore it from a backup, or remove it to become a new node)", st.Path(name), err)
	}
	return value, err
}

// random32 returns random bytes. It does not fail: crypto/rand ends the process instead.
func random32() (b [32]byte) {
	_, _ = rand.Read(b[:])
	return b
}
