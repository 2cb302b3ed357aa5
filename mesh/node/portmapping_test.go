package node

import (
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// The nonce is of the node: another node has another one, and a new WireGuard key changes nothing.
func TestNonce(t *testing.T) {
	a := state.Keys{NodeKey: mesh.NewNodeKey([32]byte{1}), PrivateKey: mesh.NewPrivateKey([32]byte{2})}
	rotated, other, unsigned := a, a, a
	rotated.PrivateKey = mesh.NewPrivateKey([32]byte{3})
	other.NodeKey = mesh.NewNodeKey([32]byte{4})
	unsigned.NodeKey = mesh.NodeKey{}
	if nonce(a) != nonce(rotated) || nonce(a) == nonce(other) || nonce(a) == nonce(unsigned) {
		t.Errorf("nonces %x, %x, %x, %x", nonce(a), nonce(rotated), nonce(other), nonce(unsigned))
	}
}
