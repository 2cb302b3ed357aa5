package codec

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

func TestOpenRaw(t *testing.T) {
	a := testAffiliate()
	blob, _, err := SealAffiliate(test, noKey, a, testNonce)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := SealAffiliate(other, noKey, a, testNonce)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := SealEndpoint(testKey, netip.MustParseAddrPort("192.0.2.1:51820"))
	if err != nil {
		t.Fatal(err)
	}
	withEndpoint := a
	withEndpoint.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}
	noKubeSpan := sealRaw(t, &pb.Affiliate{NodeId: "n"})
	for name, tc := range map[string]struct {
		raw  discovery.RawAffiliate
		want discovery.Opened
	}{
		"good":             {discovery.RawAffiliate{ID: a.NodeID, Data: blob, Endpoints: [][]byte{endpoint, endpoint}}, discovery.Opened{Affiliate: withEndpoint}},
		"only endpoints":   {discovery.RawAffiliate{ID: a.NodeID, Endpoints: [][]byte{endpoint}}, discovery.Opened{}},
		"not a peer":       {discovery.RawAffiliate{ID: "n", Data: noKubeSpan, Endpoints: [][]byte{endpoint}}, discovery.Opened{Affiliate: mesh.Affiliate{NodeID: "n", MachineType: mesh.MachineWorker}}},
		"bad endpoint":     {discovery.RawAffiliate{ID: a.NodeID, Data: blob, Endpoints: [][]byte{{1}, endpoint}}, discovery.Opened{Affiliate: withEndpoint, Problems: []discovery.Problem{{AffiliateID: a.NodeID, Reason: "dropped malformed endpoint (1)"}}}},
		"other secret":     {discovery.RawAffiliate{ID: a.NodeID, Data: foreign}, discovery.Opened{Unreadable: true, Problems: []discovery.Problem{{AffiliateID: a.NodeID, Reason: ErrUnreadable.Error()}}}},
		"another's data":   {discovery.RawAffiliate{ID: "n", Data: blob}, discovery.Opened{Problems: []discovery.Problem{{AffiliateID: "n", Reason: `data belongs to node id "` + a.NodeID + `"`}}}},
		"no id":            {discovery.RawAffiliate{ID: "", Data: blob}, discovery.Opened{Problems: []discovery.Problem{{AffiliateID: "", Reason: "ignored an affiliate: affiliate id is empty"}}}},
		"unprintable id":   {discovery.RawAffiliate{ID: "\x1b", Data: blob}, discovery.Opened{Problems: []discovery.Problem{{AffiliateID: "", Reason: "ignored an affiliate: affiliate id isn't printable"}}}},
		"overlong id":      {discovery.RawAffiliate{ID: strings.Repeat("x", 257), Data: blob}, discovery.Opened{Problems: []discovery.Problem{{AffiliateID: "", Reason: "ignored an affiliate: affiliate id has 257 bytes, the limit is 256"}}}},
		"many endpoints":   {discovery.RawAffiliate{ID: a.NodeID, Data: blob, Endpoints: slices.Repeat([][]byte{endpoint}, 65)}, discovery.Opened{Affiliate: withEndpoint, Problems: []discovery.Problem{{AffiliateID: a.NodeID, Reason: "endpoints beyond the limit of 64 ignored"}}}},
		"enough endpoints": {discovery.RawAffiliate{ID: a.NodeID, Data: blob, Endpoints: slices.Repeat([][]byte{endpoint}, 64)}, discovery.Opened{Affiliate: withEndpoint}},
	} {
		if got := OpenRaw(test, tc.raw, discovery.Known{}); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, tc.want)
		}
	}
}
