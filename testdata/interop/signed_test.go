package interop

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	clientpb "github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"
	sidero "github.com/siderolabs/discovery-client/pkg/client"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// signedData is ourData with a record, and with exit routes, which travel in the
// extension alone.
func signedData(key mesh.NodeKey) (full, shown mesh.Affiliate) {
	full = ourData()
	full.NodeID = key.NodeID()
	full.Record = mesh.Record{Sequence: 1 << 40, Instance: 7, Start: 1 << 39}
	shown = full
	full.AdditionalAddresses = append(slices.Clip(full.AdditionalAddresses), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
	return full, shown
}

// TestSignedRecords shows our signed records to Sidero's client. It reads them as if the
// extension weren't there, goes on running, and what it publishes of them is still signed.
func TestSignedRecords(t *testing.T) {
	endpoint, _ := serve(t, "127.0.0.1:0")
	key := mesh.NewNodeKey([32]byte{1})
	local, shown := signedData(key)
	ours, stopOurs := startOurs(t, endpoint, local.NodeID, key)
	witness, _ := startOurs(t, endpoint, "witness", mesh.NodeKey{})
	theirs := startTheirs(t, endpoint, theirsID)
	witnessEventually := func(want mesh.Affiliate) {
		t.Helper()
		oursEventually(t, witness, showOurs(want))
		if got := witness.Snapshot(); !reflect.DeepEqual(got.Affiliates[0].Record, want.Record) || got.Problems != nil {
			t.Errorf("our client sees the record %+v, problems %v; want %+v", got.Affiliates[0].Record, got.Problems, want.Record)
		}
	}

	ours.Publish(discovery.Local{Affiliate: local})
	theirs.eventually(t, showOurs(shown))
	witnessEventually(local)
	local.Record.Sequence++
	local.Hostname, shown.Hostname = "renamed", "renamed"
	ours.Publish(discovery.Local{Affiliate: local})
	theirs.eventually(t, showOurs(shown))
	witnessEventually(local)

	// Somebody publishes what Sidero's client has decoded, with one more endpoint.
	stopOurs()
	decoded := theirs.GetAffiliates()[0]
	extra := netip.MustParseAddrPort("198.51.100.9:40009")
	parrot := startTheirs(t, endpoint, local.NodeID)
	if err := parrot.SetLocalData(&sidero.Affiliate{
		Affiliate: decoded.Affiliate, Endpoints: []*clientpb.Endpoint{theirEndpoint(extra.String())},
	}, nil); err != nil {
		t.Fatal(err)
	}
	local.Endpoints, shown.Endpoints = append(local.Endpoints, extra), append(shown.Endpoints, extra)
	witnessEventually(local)
	theirs.eventually(t, showOurs(shown))

	// A change of theirs to it is refused, and what was good stays.
	forged := decoded.Affiliate.CloneVT()
	forged.Nodename = "forged"
	if err := parrot.SetLocalData(&sidero.Affiliate{Affiliate: forged}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, witness.Changed(), func() string {
		if witness.Snapshot().Problems == nil {
			return "our client does not complain of a forged record"
		}
		return ""
	})
	if got := witness.Snapshot().Affiliates; len(got) != 1 || got[0].Nodename != local.Nodename {
		t.Errorf("with a forged record our client sees %+v", got)
	}
}

// TestUnsignedRecords decides on records of Sidero's client: they make a peer where
// unsigned records are taken, as with a Talos configuration, and none in an own mesh.
func TestUnsignedRecords(t *testing.T) {
	endpoint, _ := serve(t, "127.0.0.1:0")
	key := mesh.NewPrivateKey([32]byte{8})
	subnet := mesh.ULA(clusterID)
	remote := theirData()
	remote.Affiliate.Kubespan.Address = subnet.Addr().Next().AsSlice()
	ours, _ := startOurs(t, endpoint, oursID, mesh.NodeKey{})
	theirs := startTheirs(t, endpoint, theirsID)
	if err := theirs.SetLocalData(remote, nil); err != nil {
		t.Fatal(err)
	}
	oursEventually(t, ours, showTheirs(remote.Affiliate, remote.Endpoints))
	for _, signed := range []bool{false, true} {
		plan := mesh.Decide(mesh.Input{
			Config:     mesh.Config{Enabled: true, RequireSigned: signed},
			Self:       mesh.Identity{NodeID: oursID, Address: subnet.Addr().Next().Next(), Subnet: subnet, PrivateKey: key, PublicKey: key.Public()},
			Host:       mesh.Host{ListenPort: mesh.DefaultListenPort},
			Affiliates: ours.Snapshot().Affiliates,
		}, time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC))
		taken := len(plan.Peers) == 1 && plan.Peers[0].PublicKey.String() == remote.Affiliate.Kubespan.PublicKey
		refused := len(plan.Peers) == 0 && slices.ContainsFunc(plan.Conditions, func(c mesh.Condition) bool { return c.Type == mesh.ConditionUnsigned })
		if taken == signed || refused != signed {
			t.Errorf("signed records only: %v: peers %+v, conditions %+v", signed, plan.Peers, plan.Conditions)
		}
	}
}
