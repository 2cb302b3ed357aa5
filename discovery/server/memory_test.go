package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func newTestMemory(only string) *memory { return newMemory(only, hclog.NewNullLogger()) }

func mustUpdate(t testing.TB, m *memory, cluster, affiliate string) {
	t.Helper()
	mustUpdateAt(t, m, Update{Cluster: cluster, Affiliate: affiliate, Data: []byte("x"), TTL: minute}, t0)
}

func mustUpdateAt(t testing.TB, m *memory, u Update, now time.Time) {
	t.Helper()
	if err := m.Update(context.Background(), u, now); err != nil {
		t.Fatal(err)
	}
}

func TestClustersExistWhileUsed(t *testing.T) {
	m, ctx := newTestMemory(""), context.Background()
	check := func(after string, want counts) {
		t.Helper()
		if got := m.counts(); got != want {
			t.Errorf("after %s: %+v, want %+v", after, got, want)
		}
	}
	if list, err := m.List(ctx, "c"); err != nil || len(list) != 0 {
		t.Errorf("List of an unknown cluster = %v, %v", list, err)
	}
	if err := m.Delete(ctx, "c", "a"); err != nil {
		t.Error(err)
	}
	check("list and delete by strangers", counts{})

	sub, err := m.Watch(ctx, "c", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	check("watch", counts{clusters: 1, watchers: 1})
	mustUpdate(t, m, "c", "a")
	check("update", counts{clusters: 1, affiliates: 1, watchers: 1})
	sub.Close()
	check("end of watch", counts{clusters: 1, affiliates: 1})
	if err := m.Delete(ctx, "c", "a"); err != nil {
		t.Error(err)
	}
	check("delete", counts{})

	mustUpdate(t, m, "c", "a")
	mustUpdate(t, m, "c", "b")
	if clusters, affiliates := m.expire(t0.Add(2 * minute)); clusters != 1 || affiliates != 2 {
		t.Errorf("expire removed %d clusters and %d affiliates", clusters, affiliates)
	}
	check("expiry", counts{})
}

func TestListIsSorted(t *testing.T) {
	m := newTestMemory("")
	for i := 9; i >= 0; i-- {
		mustUpdate(t, m, "c", fmt.Sprint(i))
	}
	list, err := m.List(context.Background(), "c")
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range list {
		if a.ID != fmt.Sprint(i) {
			t.Errorf("%d: %q", i, a.ID)
		}
	}
}

func TestMemoryBounds(t *testing.T) {
	ctx := context.Background()
	t.Run("clusters", func(t *testing.T) {
		m := newTestMemory("")
		for i := range maxClusters {
			mustUpdate(t, m, fmt.Sprint(i), "a")
		}
		if err := m.Update(ctx, Update{Cluster: "new", Affiliate: "a"}, t0); !errors.Is(err, ErrTooManyClusters) {
			t.Errorf("Update: %v", err)
		}
		if _, err := m.Watch(ctx, "new", netip.Addr{}); !errors.Is(err, ErrTooManyClusters) {
			t.Errorf("Watch: %v", err)
		}
		mustUpdate(t, m, "7", "b")
	})
	t.Run("affiliates in all clusters", func(t *testing.T) {
		m := newTestMemory("")
		mustUpdate(t, m, "c", "a")
		m.affiliates.used = maxTotalAffiliates
		if err := m.Update(ctx, Update{Cluster: "d", Affiliate: "a"}, t0); !errors.Is(err, ErrTooManyTotalAffiliates) {
			t.Errorf("Update: %v", err)
		}
		if len(m.clusters) != 1 {
			t.Error("a refused update left an empty cluster")
		}
		mustUpdate(t, m, "c", "a")
	})
	t.Run("watchers", func(t *testing.T) {
		m := newTestMemory("")
		for range maxWatchersPerCluster {
			if _, err := m.Watch(ctx, "c", netip.Addr{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := m.Watch(ctx, "c", netip.Addr{}); !errors.Is(err, ErrTooManyWatchers) {
			t.Errorf("Watch: %v", err)
		}
		if _, err := m.Watch(ctx, "d", netip.Addr{}); err != nil {
			t.Errorf("another cluster: %v", err)
		}
	})
}

func TestCloseAfterLoss(t *testing.T) {
	m := newTestMemory("")
	sub, err := m.Watch(context.Background(), "c", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range watchBuffer + 1 {
		mustUpdate(t, m, "c", fmt.Sprint(i))
	}
	m.expire(t0.Add(2 * minute)) // removes the cluster before the subscription is closed
	sub.Close()
	if got := m.counts(); got != (counts{}) {
		t.Errorf("left: %+v", got)
	}
}
