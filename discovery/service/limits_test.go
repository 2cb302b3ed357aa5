package service

import (
	"bytes"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/wirespan/wirespan/discovery"
)

func TestEntriesAreCountedBeforeDecoding(t *testing.T) {
	empty := bytes.Repeat([]byte{0x0a, 0}, 2_000_000)
	endpoints, err := proto.Marshal(&pb.WatchResponse{Affiliates: []*pb.Affiliate{{Endpoints: make([][]byte, 2_000_000)}}})
	if err != nil {
		t.Fatal(err)
	}
	nine := bytes.Repeat([]byte{0x0a, 0}, maxDeltaAffiliates+1)
	padding := append([]byte{0x7a, 0x80, 0x80, 0x08}, make([]byte, 1<<17)...)
	for _, tc := range []struct {
		name string
		data []byte
		into any
		ok   bool
	}{
		{"empty affiliates in a snapshot", empty, snapshot{&pb.WatchResponse{}}, false},
		{"empty affiliates in a list", empty, &pb.ListResponse{}, false},
		{"endpoints of one affiliate", endpoints, snapshot{&pb.WatchResponse{}}, false},
		{"many affiliates in a change", nine, &pb.WatchResponse{}, false},
		{"many affiliates in a snapshot", nine, snapshot{&pb.WatchResponse{}}, true},
		{"padding in a change", padding, &pb.WatchResponse{}, false},
		{"broken", []byte{0x0a, 9}, snapshot{&pb.WatchResponse{}}, false},
	} {
		err := newWire().Unmarshal(mem.BufferSlice{mem.SliceBuffer(tc.data)}, tc.into)
		if (err == nil) != tc.ok {
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
