package service

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wirespan/wirespan/discovery"
)

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Requests are encoded as by Sidero's generated code, to the byte.
func TestUpdateAsGenerated(t *testing.T) {
	endpoints := [][]byte{[]byte("one"), {}, []byte("two")}
	for _, u := range []update{
		{clusterID: "c", affiliateID: "a", data: []byte("data"), endpoints: endpoints, ttl: 30 * time.Minute},
		{clusterID: "c", affiliateID: "a", ttl: 1500 * time.Millisecond},
		{affiliateID: "a", endpoints: endpoints, ttl: time.Second},
	} {
		want := marshal(t, &pb.AffiliateUpdateRequest{
			ClusterId: u.clusterID, AffiliateId: u.affiliateID, AffiliateData: u.data, AffiliateEndpoints: u.endpoints, Ttl: durationpb.New(u.ttl),
		})
		if got := u.encode(); !bytes.Equal(got, want) {
			t.Errorf("%x, want %x", got, want)
		}
	}
}

// FuzzMessagesAsGenerated decodes what the generated code decodes, to the same. That takes
// a known field with another type for an unknown one, which is an error here; and ids that
// are no UTF-8 are refused later here.
func FuzzMessagesAsGenerated(f *testing.F) {
	a := &pb.Affiliate{Id: "a", Data: []byte("data"), Endpoints: [][]byte{[]byte("one"), {}}}
	f.Add(marshal(f, &pb.WatchResponse{Affiliates: []*pb.Affiliate{a, {Id: "b"}}, Deleted: true}))
	f.Add(marshal(f, &pb.HelloResponse{Redirect: &pb.RedirectMessage{Endpoint: "a:1"}, ClientIp: []byte{1, 2, 3, 4}}))
	f.Add([]byte{0x0a, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeEvent(b, maxEntries); err == nil {
			var theirs pb.WatchResponse
			if err := proto.Unmarshal(b, &theirs); err == nil {
				checkEvent(t, e, &theirs)
			} else if validIDs(e) {
				t.Errorf("decoded, but the generated code says %v", err)
			}
		}
		h, err := decodeHello(b)
		var theirs pb.HelloResponse
		if err != nil || proto.Unmarshal(b, &theirs) != nil {
			return
		}
		if h.redirects != (theirs.GetRedirect() != nil) || h.redirect != theirs.GetRedirect().GetEndpoint() || !bytes.Equal(h.clientIP, theirs.GetClientIp()) {
			t.Errorf("%+v, want %v", h, &theirs)
		}
	})
}

func validIDs(e event) bool {
	return !slices.ContainsFunc(e.affiliates, func(a discovery.RawAffiliate) bool { return discovery.CheckID(a.ID) != nil })
}

func checkEvent(t *testing.T, got event, want *pb.WatchResponse) {
	t.Helper()
	list := raw(want.GetAffiliates()...)
	if got.deleted != want.GetDeleted() || len(got.affiliates) != len(list) {
		t.Fatalf("%+v, want %v", got, want)
	}
	for i, a := range got.affiliates {
		if a.ID != list[i].ID || !bytes.Equal(a.Data, list[i].Data) || !slices.EqualFunc(a.Endpoints, list[i].Endpoints, bytes.Equal) {
			t.Fatalf("%+v, want %v", a, list[i])
		}
	}
}

// What is decoded stays as it is when the buffer of the message is used again.
func TestDecodedIsCopied(t *testing.T) {
	b := marshal(t, &pb.WatchResponse{Affiliates: []*pb.Affiliate{{Id: "a", Data: []byte("data"), Endpoints: [][]byte{[]byte("one")}}}})
	e, err := decodeEvent(b, 1)
	clear(b)
	if err != nil || e.affiliates[0].ID != "a" || string(e.affiliates[0].Data) != "data" || string(e.affiliates[0].Endpoints[0]) != "one" {
		t.Errorf("%+v, %v", e, err)
	}
}
