package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

// Keys is the part of an identity that is stored on disk. It does not change while the
// files exist. The address is computed from it, the cluster id and the MAC.
type Keys struct {
	NodeID     string
	PrivateKey mesh.PrivateKey
}

// LoadKeys reads both identity files and creates those that are missing. If identityDir
// is not empty, the files are there and not in st; it may be read-only if it holds both
// (a mounted Secret). A damaged file is an error and is not overwritten.
func LoadKeys(st *Dir, identityDir string, log hclog.Logger) (Keys, error) {
	if identityDir != "" {
		var err error
		if st, err = Open(identityDir, log); err != nil {
			return Keys{}, fmt.Errorf("identity directory: %w", err)
		}
	}
	node, err := loadOrCreate(st, mesh.NodeIdentityFile, mesh.ParseNodeIdentity, func() []byte {
		return mesh.EncodeNodeIdentity(mesh.NodeIDFromBytes(random32()))
	})
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
	return Keys{NodeID: node, PrivateKey: id.PrivateKey}, nil
}

// Identity returns this node's identity in a cluster. mac is the hardware address that
// the last bits of the ULA are made of; if it is empty, one is derived from the node id.
func (k Keys) Identity(clusterID string, mac []byte) (mesh.Identity, error) {
	subnet := mesh.ULA(clusterID)
	if len(mac) == 0 {
		derived := mesh.DerivedMAC(k.NodeID)
		mac = derived[:]
	}
	addr, err := mesh.NodeAddress(subnet, mac)
	if err != nil {
		return mesh.Identity{}, fmt.Errorf("error updating KubeSpan address: %w", err)
	}
	return mesh.Identity{
		NodeID: k.NodeID, Address: addr, Subnet: subnet,
		PrivateKey: k.PrivateKey, PublicKey: k.PrivateKey.Public(),
	}, nil
}

func loadOrCreate[T any](st *Dir, name string, parse func([]byte) (T, error), fresh func() []byte) (T, error) {
	data, err := st.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		data = fresh()
		err = st.Create(name, data)
	}
	if err != nil {
		var none T
		return none, err
	}
	value, err := parse(data)
	if err != nil {
		return value, fmt.Errorf("%q: %w (restore it from a backup, or remove it to become a new node)", st.Path(name), err)
	}
	return value, nil
}

// random32 returns random bytes. It does not fail: crypto/rand ends the process instead.
func random32() (b [32]byte) {
	_, _ = rand.Read(b[:])
	return b
}
