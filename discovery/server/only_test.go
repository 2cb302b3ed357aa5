package server

import (
	"strings"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// serving returns the only clusters to serve.
func serving(ids ...string) *only {
	o := new(only)
	o.set(ids...)
	return o
}

func TestOnlyServes(t *testing.T) {
	if o := new(only); !o.serves("any") {
		t.Error("a public server refuses a cluster")
	}
	o := serving("one", "two")
	for id, want := range map[string]bool{"one": true, "two": true, "onetwo": false, "": false, "on": false} {
		if o.serves(id) != want {
			t.Errorf("%q: served %v", id, !want)
		}
	}
}

// When the server changes to another cluster, who has the former name is disconnected,
// finds nothing, and can add nothing.
func TestServeOnly(t *testing.T) {
	r := start(t, Config{OnlyCluster: "former"})
	publish := func(cluster string) error {
		_, err := r.client.AffiliateUpdate(t.Context(), update(cluster, "a"))
		return err
	}
	if err := publish("former"); err != nil {
		t.Fatal(err)
	}
	watch, err := r.client.Watch(t.Context(), &pb.WatchRequest{ClusterId: "former"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := r.Server.ServeOnly("former", "next"); err != nil {
		t.Fatal(err)
	}
	if err := publish("next"); err != nil {
		t.Errorf("during the change: %v", err)
	}
	if err := r.Server.ServeOnly("next"); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err = watch.Recv(); err != nil {
			break
		}
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("the watch of the former cluster ended with %v", err)
	}
	if err := publish("former"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the former cluster: %v", err)
	}
	if got := r.Server.memory.counts(); got.clusters != 1 || got.affiliates != 1 {
		t.Errorf("the server has %+v", got)
	}
	for _, bad := range [][]string{nil, {"a", "b", "c"}, {strings.Repeat("x", 257)}} {
		if r.Server.ServeOnly(bad...) == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
	if start(t, Config{}).Server.ServeOnly("c") == nil {
		t.Error("a public server changes to one cluster")
	}
}
