package service

import (
	"fmt"
	"testing"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/protobuf/proto"
)

func affiliates(b *testing.B, n int) *pb.WatchResponse {
	m := &pb.WatchResponse{}
	for i := range n {
		m.Affiliates = append(m.Affiliates, sealed(b, secret, fmt.Sprintf("p%04d", i), "host"))
	}
	return m
}

// BenchmarkDecode measures the decoding of the first message of a watch with 1,000 members.
func BenchmarkDecode(b *testing.B) {
	message, err := proto.Marshal(affiliates(b, 1000))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeEvent(message, maxEntries); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSnapshot measures what that message costs after it.
func BenchmarkSnapshot(b *testing.B) {
	list := raw(affiliates(b, 1000).Affiliates...)
	b.ReportAllocs()
	for b.Loop() {
		t := newTable(&tableConfig)
		t.snapshot(list, time.Unix(1e9, 0))
		t.Result()
	}
}

// BenchmarkDelta measures a message about one of 1,000 members.
func BenchmarkDelta(b *testing.B) {
	list := raw(affiliates(b, 1000).Affiliates...)
	t := newTable(&tableConfig)
	t.snapshot(list, time.Unix(1e9, 0))
	a, other := list[:1], raw(sealed(b, secret, "p0000", "other"))
	b.ReportAllocs()
	for now := time.Unix(2e9, 0); b.Loop(); now = now.Add(time.Minute) {
		a, other = other, a
		t.delta(event{affiliates: a}, now)
		t.Result()
	}
}
