package service

import (
	"bytes"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/protobuf/proto"

	"github.com/wirespan/wirespan/discovery"
)

func TestEntriesAreBounded(t *testing.T) {
	empty := bytes.Repeat([]byte{0x0a, 0}, 2_000_000)
	var crowded pb.WatchResponse
	for range 3 {
		crowded.Affiliates = append(crowded.Affiliates, &pb.Affiliate{Endpoints: make([][]byte, discovery.MaxEndpoints)})
	}
	nine := bytes.Repeat([]byte{0x0a, 0}, maxDeltaAffiliates+1)
	for _, tc := range []struct {
		name       string
		data       []byte
		affiliates int
		ok         bool
	}{
		{"empty affiliates in a snapshot", empty, maxEntries, false},
		{"endpoints", marshal(t, &crowded), 2, false},
		{"endpoints of one affiliate", marshal(t, &pb.WatchResponse{Affiliates: []*pb.Affiliate{{Endpoints: make([][]byte, 2_000_000)}}}), maxEntries, false},
		{"fewer endpoints", marshal(t, &crowded), 3, true},
		{"many affiliates in a change", nine, maxDeltaAffiliates, false},
		{"many affiliates in a snapshot", nine, maxEntries, true},
		{"broken", []byte{0x0a, 9}, maxEntries, false},
		{"a broken affiliate", []byte{0x0a, 2, 0x0a, 9}, maxEntries, false},
	} {
		if _, err := decodeEvent(tc.data, tc.affiliates); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	full := &pb.ListResponse{}
	for range discovery.MaxAffiliates {
		a := &pb.Affiliate{Id: string(bytes.Repeat([]byte{'x'}, discovery.MaxAffiliateIDLength)), Data: make([]byte, discovery.MaxAffiliateDataSize)}
		for range discovery.MaxEndpoints {
			a.Endpoints = append(a.Endpoints, make([]byte, discovery.MaxEndpointSize))
		}
		full.Affiliates = append(full.Affiliates, a)
	}
	if size := proto.Size(full); size > maxSnapshotSize {
		t.Errorf("a full cluster has %d bytes, the limit is %d", size, maxSnapshotSize)
	}
}
