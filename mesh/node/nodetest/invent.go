package nodetest

import (
	"encoding/binary"
	"net/netip"

	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

// Invented is a member that does not exist: only discovery knows of it. Anyone with the
// cluster's secret can make one.
type Invented struct {
	mesh.Affiliate
	Key mesh.NodeKey // signs its records

	mesh *Mesh
	seed [mesh.KeySize]byte
}

// Invent makes a member and publishes it, signed with a key of its own. Its key, node id
// and mesh address follow from n.
func (m *Mesh) Invent(n uint32, endpoints ...netip.AddrPort) *Invented {
	m.t.Helper()
	i := &Invented{mesh: m}
	binary.BigEndian.PutUint32(i.seed[:], n+1)
	i.Key = mesh.NewNodeKey(i.seed)
	i.Affiliate = mesh.Affiliate{
		NodeID: i.Key.NodeID(), MachineType: mesh.MachineWorker, Endpoints: endpoints,
		PublicKey: mesh.NewPrivateKey(i.seed).Public(), Address: mesh.DerivedAddress(mesh.ULA(clusterID), i.Key.NodeID()),
	}
	i.Publish()
	return i
}

// Publish publishes the member as it is now, in a new record.
func (i *Invented) Publish() {
	i.mesh.t.Helper()
	i.Record.Sequence++
	i.Record.Start = 1
	secret, err := mesh.ParseSecret(clusterSecret)
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	nonce := [codec.NonceSize]byte(i.seed[:])
	nonce[codec.NonceSize-1] = byte(i.Record.Sequence)
	data, _, err := codec.SealAffiliate(codec.Cluster{ID: clusterID, Secret: secret}, i.Key, i.Affiliate, nonce)
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	i.mesh.Hub.update(i.NodeID, data, nil)
}

// Leave publishes the signed statement that the member has left.
func (i *Invented) Leave() {
	i.mesh.t.Helper()
	i.Affiliate = mesh.Affiliate{NodeID: i.NodeID, Record: mesh.Record{Sequence: i.Record.Sequence, Left: true}}
	i.Publish()
}
