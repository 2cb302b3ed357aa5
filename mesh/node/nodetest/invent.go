package nodetest

import (
	"encoding/binary"
	"net/netip"

	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

// Invent publishes a member that does not exist, signed with a key of its
// own, as anyone with the cluster's secret can. Its key, node id and mesh address follow from n.
func (m *Mesh) Invent(n uint32, endpoints ...netip.AddrPort) {
	m.t.Helper()
	var seed [mesh.KeySize]byte
	binary.BigEndian.PutUint32(seed[:], n+1)
	key := mesh.NewNodeKey(seed)
	a := mesh.Affiliate{
		NodeID: key.NodeID(), MachineType: mesh.MachineWorker,
		PublicKey: mesh.NewPrivateKey(seed).Public(), Address: mesh.DerivedAddress(mesh.ULA(clusterID), key.NodeID()),
		Record: mesh.Record{Sequence: 1, Start: 1},
	}
	secret, err := mesh.ParseSecret(clusterSecret)
	if err != nil {
		m.t.Fatal(err)
	}
	data, _, err := codec.SealAffiliate(codec.Cluster{ID: clusterID, Secret: secret}, key, a, [codec.NonceSize]byte(seed[:]))
	if err != nil {
		m.t.Fatal(err)
	}
	sealed := make([][]byte, len(endpoints))
	for i, e := range endpoints {
		if sealed[i], err = codec.SealEndpoint(secret, e); err != nil {
			m.t.Fatal(err)
		}
	}
	m.Hub.update(nil, a.NodeID, data, sealed)
}
