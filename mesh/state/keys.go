package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

// Keys is what of an identity is kept on disk. It never changes while the
// files exist; the address follows from it, the cluster id and the MAC.
type Keys struct {
	NodeID     string
	PrivateKey mesh.PrivateKey
}

// LoadKeys reads both identity files, making those that are missing. identityDir
// may be read-only when it holds both (a mounted Secret); empty means st itself.
// A file that is there but damaged is an error, never overwritten.
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

// Identity computes this node's identity in a cluster. mac is the hardware
// address that the ULA ends in; none: one derived from the node id.
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

// random32 never fails: crypto/rand crashes the process instead (Go 1.24).
func random32() (b [32]byte) {
	_, _ = rand.Read(b[:])
	return b
}
