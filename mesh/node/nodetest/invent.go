package nodetest

import (
	"crypto/rand"
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
}

// Invent makes a member and publishes it, signed with a key of its own. Its key, node id
// and mesh address follow from n.
func (m *Mesh) Invent(n uint32, endpoints ...netip.AddrPort) *Invented {
	m.t.Helper()
	var seed [mesh.KeySize]byte
	binary.BigEndian.PutUint32(seed[:], n+1)
	i := &Invented{mesh: m, Key: mesh.NewNodeKey(seed)}
	i.Affiliate = mesh.Affiliate{
		NodeID: i.Key.NodeID(), MachineType: mesh.MachineWorker, Endpoints: endpoints,
		PublicKey: mesh.NewPrivateKey(seed).Public(), Address: mesh.DerivedAddress(mesh.ULA(clusterID), i.Key.NodeID()),
	}
	i.Publish()
	return i
}

// Publish publishes the member as it is now, in a new record.
func (i *Invented) Publish() {
	i.mesh.t.Helper()
	i.Record.Sequence++
	i.Record.Start = 1
	i.mesh.Hub.update(i.NodeID, i.mesh.Seal(i.Affiliate, i.Key), nil)
}

// Seen publishes endpoints of the member, as others do that have seen it there.
func (i *Invented) Seen(endpoints ...netip.AddrPort) {
	i.mesh.t.Helper()
	for _, e := range endpoints {
		i.mesh.Hub.update(i.NodeID, nil, [][]byte{i.mesh.SealEndpoint(e)})
	}
}

// Seal returns an affiliate as its entry at the hub, signed if it has a record.
func (m *Mesh) Seal(a mesh.Affiliate, key mesh.NodeKey) []byte {
	m.t.Helper()
	data, _, err := codec.SealAffiliate(m.cluster(), key, a, m.nonce())
	if err != nil {
		m.t.Fatal(err)
	}
	return data
}

// SealEndpoint returns an endpoint as it is beside an entry at the hub.
func (m *Mesh) SealEndpoint(e netip.AddrPort) []byte {
	m.t.Helper()
	sealed, err := codec.SealEndpoint(m.cluster().Secret, e)
	if err != nil {
		m.t.Fatal(err)
	}
	return sealed
}

// cluster is what all nodes have in common.
func (m *Mesh) cluster() codec.Cluster {
	secret, err := mesh.ParseSecret(clusterSecret)
	if err != nil {
		m.t.Fatal(err)
	}
	return codec.Cluster{ID: clusterID, Secret: secret}
}

func (m *Mesh) nonce() (nonce [codec.NonceSize]byte) {
	_, _ = rand.Read(nonce[:]) // never fails
	return nonce
}

// Leave publishes the signed statement that the member has left.
func (i *Invented) Leave() {
	i.mesh.t.Helper()
	i.Affiliate = mesh.Affiliate{NodeID: i.NodeID, Record: mesh.Record{Sequence: i.Record.Sequence, Left: true}}
	i.Publish()
}
