package interop

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientpb "github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"
	serverpb "github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	sidero "github.com/siderolabs/discovery-client/pkg/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wirespan/wirespan/mesh"
)

var update = flag.Bool("update", false, "write the fixtures anew, with Sidero's client")

// fixtures are affiliates as Talos publishes them. Each is in two files: the plain message,
// and the entry that a server has of it, with message and endpoints as Sidero's client seals
// them with secret. discovery/codec opens them in its tests.
func fixtures() map[string]*sidero.Affiliate {
	worker := &clientpb.Affiliate{
		NodeId: "sou7yy34ykX3n373Zw1DXKb8zD7UnyKT6HT3QDsGH6L", Hostname: "worker-1", Nodename: "worker-1",
		OperatingSystem: "Talos (v1.13.2)", MachineType: "worker", Addresses: binary("192.0.2.3"),
	}
	return map[string]*sidero.Affiliate{
		"controlplane": theirData(),
		"worker":       {Affiliate: worker}, // KubeSpan is off
		"pods": {
			Affiliate: &clientpb.Affiliate{
				NodeId: "7x1SuC8Ege5BGXdAfTEff5iQnlWZLfv9h1LGMxA2pYkC", Hostname: "pods.example.org", Nodename: "pods",
				OperatingSystem: "Talos (v1.14.0)", MachineType: "worker", Addresses: binary("10.0.0.4", "2001:db8::4"),
				Kubespan: &clientpb.KubeSpan{
					PublicKey: mesh.Key{4}.String(), Address: binary("fd7f:175a:b97c:5602:2c1a:b6ff:fe53:8169")[0],
					AdditionalAddresses: []*clientpb.IPPrefix{
						{Ip: binary("10.244.4.0")[0], Bits: 24}, {Ip: binary("10.244.4.1")[0], Bits: 32}, {Ip: binary("2001:db8:4::")[0], Bits: 64},
					},
				},
			},
			Endpoints: []*clientpb.Endpoint{theirEndpoint("10.0.0.4:51820"), theirEndpoint("203.0.113.4:51820"), theirEndpoint("[2001:db8::4]:51820")},
		},
	}
}

// raw speaks the protocol without any client of the two.
func raw(t *testing.T, endpoint string) serverpb.ClusterClient {
	t.Helper()
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return serverpb.NewClusterClient(conn)
}

// capture returns a as Sidero's client publishes it.
func capture(t *testing.T, a *sidero.Affiliate) *serverpb.Affiliate {
	t.Helper()
	endpoint, _ := serve(t, "127.0.0.1:0")
	if err := startTheirs(t, endpoint, a.Affiliate.GetNodeId()).SetLocalData(a, nil); err != nil {
		t.Fatal(err)
	}
	watcher := startTheirs(t, endpoint, "watcher")
	watcher.eventually(t, showTheirs(a.Affiliate, a.Endpoints))
	list, err := raw(t, endpoint).List(t.Context(), &serverpb.ListRequest{ClusterId: clusterID})
	if err != nil || len(list.GetAffiliates()) != 1 {
		t.Fatalf("listed %v, error %v", list, err)
	}
	return list.GetAffiliates()[0]
}

// TestFixtures shows that the fixtures are what Sidero's client makes and reads.
func TestFixtures(t *testing.T) {
	for name, a := range fixtures() {
		file := func(kind string) string { return filepath.Join("affiliates", name+kind) }
		plain, err := a.Affiliate.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			entry, err := capture(t, a).MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			for kind, data := range map[string][]byte{".pb": plain, ".entry": entry} {
				if err := os.WriteFile(file(kind), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		read := func(kind string) []byte {
			data, err := os.ReadFile(file(kind))
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		if !bytes.Equal(read(".pb"), plain) {
			t.Errorf("%s: the message differs: go test -update, if that is meant", name)
		}
		var entry serverpb.Affiliate
		if err := entry.UnmarshalVT(read(".entry")); err != nil {
			t.Fatal(err)
		}
		endpoint, _ := serve(t, "127.0.0.1:0")
		if _, err := raw(t, endpoint).AffiliateUpdate(t.Context(), &serverpb.AffiliateUpdateRequest{
			ClusterId: clusterID, AffiliateId: entry.GetId(), AffiliateData: entry.GetData(),
			AffiliateEndpoints: entry.GetEndpoints(), Ttl: durationpb.New(time.Minute),
		}); err != nil {
			t.Fatal(err)
		}
		startTheirs(t, endpoint, "watcher").eventually(t, showTheirs(a.Affiliate, a.Endpoints))
	}
}
