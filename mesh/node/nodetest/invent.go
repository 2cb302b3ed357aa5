package nodetest

import (
	"encoding/binary"
	"net/netip"

	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

// Invent publishes a member that does not exist, as anyone with the cluster's secret
// can. Its key, node id and mesh address follow from n.
func (m *Mesh) Invent(n uint32, endpoints ...netip.AddrPort) {
	m.t.Helper()
	var seed [mesh.NodeIDSize]byte
	binary.BigEndian.PutUint32(seed[:], n+1)
	address := mesh.ULA(clusterID).Addr().As16()
	copy(address[8:], seed[:4])
	a := mesh.Affiliate{
		NodeID: mesh.NodeIDFromBytes(seed), MachineType: mesh.MachineWorker,
		PublicKey: mesh.NewPrivateKey(seed).Public(), Address: netip.AddrFrom16(address),
	}
	secret, err := mesh.ParseSecret(clusterSecret)
	if err != nil {
		m.t.Fatal(err)
	}
	data, err := codec.SealAffiliate(secret, a, [codec.NonceSize]byte(seed[:]))
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
