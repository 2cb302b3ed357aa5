package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"
)

const (
	benchAffiliates = 1000
	benchWatchers   = 100
)

func fill(b *testing.B, m *memory) (updates []Update) {
	b.Helper()
	for i := range benchAffiliates {
		u := Update{Cluster: "c", Affiliate: fmt.Sprint(i), Data: make([]byte, 400), TTL: 30 * minute}
		for j := range 4 {
			u.Endpoints = append(u.Endpoints, fmt.Appendf(nil, "%016d", j))
		}
		mustUpdateAt(b, m, u, time.Now())
		updates = append(updates, u)
	}
	return updates
}

// BenchmarkStore: one update in a cluster of 1,000 affiliates reaches 100 watchers.
func BenchmarkStore(b *testing.B) {
	m := newTestMemory("")
	updates := fill(b, m)
	var subs []Subscription
	for range benchWatchers {
		sub, err := m.Watch(context.Background(), "c", netip.Addr{})
		if err != nil {
			b.Fatal(err)
		}
		subs = append(subs, sub)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		mustUpdateAt(b, m, updates[i%len(updates)], t0)
		for _, sub := range subs {
			<-sub.Events
		}
	}
}

// BenchmarkWire: one update reaches 100 clients, each with its own connection.
// Allocations are those of server and clients together.
func BenchmarkWire(b *testing.B) {
	r := start(b, Config{})
	updates := fill(b, r.memory)
	got := make(chan error)
	for range benchWatchers {
		stream, _ := watch(b, dial(b, r.addr, insecure.NewCredentials()), "c")
		go func() {
			for {
				_, err := stream.Recv()
				got <- err
				if err != nil {
					return
				}
			}
		}()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		mustUpdateAt(b, r.memory, updates[i%len(updates)], time.Now())
		for range benchWatchers {
			if err := <-got; err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	if err := r.stop(); err != nil {
		b.Error(err)
	}
	for range benchWatchers {
		if err := <-got; !errors.Is(err, io.EOF) {
			b.Error(err)
		}
	}
}

// BenchmarkList: all of a cluster of 1,000 affiliates, as a new watcher gets it.
func BenchmarkList(b *testing.B) {
	m := newTestMemory("")
	fill(b, m)
	b.ReportAllocs()
	for b.Loop() {
		list, err := m.List(context.Background(), "c")
		if err != nil || len(messages(list)) != benchAffiliates {
			b.Fatal(err)
		}
	}
}

// BenchmarkSnapshot: a cluster of 1,000 affiliates is saved and parsed.
func BenchmarkSnapshot(b *testing.B) {
	m := newTestMemory("")
	fill(b, m)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseSnapshot(encode(b, m.snapshot(time.Now())), time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
