package server

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
)

func TestVersionLabel(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3":              "v1.2",
		"v1.2.3-alpha.1":      "v1.2-pre",
		"v1.2.3-5-gabcdef":    "v1.2-pre",
		"v01.2.3":             "v1.2",
		"":                    "unknown",
		"1.2.3":               "unknown",
		"v1.2":                "unknown",
		"v1.2.3.4":            "unknown",
		"v1.x.3":              "unknown",
		"v1.-2.3":             "unknown",
		"v99999999999999.1.1": "unknown",
	} {
		if got := versionLabel(version); got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}

func TestVersionLabelsAreBounded(t *testing.T) {
	m := newMetrics()
	for i := range 1000 {
		m.hello(fmt.Sprintf("v1.%d.0", i))
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "discovery_server_hello_requests_total" {
			if n := len(f.GetMetric()); n != maxVersionLabels+1 {
				t.Errorf("%d labels, want %d", n, maxVersionLabels+1)
			}
			return
		}
	}
	t.Error("no hello metric")
}

func TestMetrics(t *testing.T) {
	r := start(t, Config{SnapshotPath: filepath.Join(t.TempDir(), "state")})
	if _, err := r.client.Hello(t.Context(), &pb.HelloRequest{ClusterId: "c", ClientVersion: "v1.2.3"}); err != nil {
		t.Fatal(err)
	}
	req := update("c", "a")
	req.AffiliateEndpoints = [][]byte{[]byte("p"), []byte("q")}
	if _, err := r.client.AffiliateUpdate(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.List(t.Context(), &pb.ListRequest{}); err == nil {
		t.Fatal("an empty cluster id was accepted")
	}
	watch(t, r.client, "c")
	if err := r.save(t0); err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	r.MetricsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	text := rec.Body.String()
	for _, want := range []string{
		`discovery_server_hello_requests_total{client_version="v1.2"} 1`,
		`discovery_state_clusters 1`,
		`discovery_state_affiliates 1`,
		`discovery_state_endpoints 2`,
		`discovery_state_subscriptions 1`,
		`discovery_state_gc_clusters_total 0`,
		`discovery_state_gc_affiliates_total 0`,
		`discovery_storage_operations_total{operation="save",status="success"} 1`,
		`discovery_storage_last_operation_endpoints{operation="save"} 2`,
		`discovery_storage_last_snapshot_size_bytes{operation="save"} `,
		`discovery_storage_last_operation_duration_seconds{operation="save"} `,
		`grpc_server_started_total{grpc_method="Watch",grpc_service="sidero.discovery.server.Cluster",grpc_type="server_stream"} 1`,
		`grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="List",grpc_service="sidero.discovery.server.Cluster",grpc_type="unary"} 1`,
		`grpc_server_handling_seconds_bucket{grpc_method="Hello",grpc_service="sidero.discovery.server.Cluster",grpc_type="unary",le="2.5"} 1`,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no %s", want)
		}
	}
}
