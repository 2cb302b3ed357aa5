package service

import (
	"fmt"
	"testing"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
)

func affiliates(b *testing.B, n int) []*pb.Affiliate {
	var list []*pb.Affiliate
	for i := range n {
		list = append(list, sealed(b, secret, fmt.Sprintf("p%04d", i), "host"))
	}
	return list
}

// BenchmarkSnapshot measures the first message of a watch with 1,000 members.
func BenchmarkSnapshot(b *testing.B) {
	list := affiliates(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		t := newTable(&tableConfig)
		t.snapshot(list, time.Unix(1e9, 0))
		t.Result()
	}
}

// BenchmarkDelta measures a message about one of 1,000 members.
func BenchmarkDelta(b *testing.B) {
	list := affiliates(b, 1000)
	t := newTable(&tableConfig)
	t.snapshot(list, time.Unix(1e9, 0))
	a, other := list[0], sealed(b, secret, "p0000", "other")
	b.ReportAllocs()
	for now := time.Unix(2e9, 0); b.Loop(); now = now.Add(time.Minute) {
		a, other = other, a
		t.delta(&pb.WatchResponse{Affiliates: []*pb.Affiliate{a}}, now)
		t.Result()
	}
}
