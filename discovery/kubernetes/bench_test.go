package kubernetes

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// BenchmarkNode reads a Node of 11 KB.
func BenchmarkNode(b *testing.B) {
	data, err := json.Marshal(bigNode(b, 1))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		n := &node{}
		if err := json.Unmarshal(data, n); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHeld reports what is held of a cluster.
func BenchmarkHeld(b *testing.B) {
	for _, size := range []int{1000, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				tr := newTracker(test, nodeKey(1).NodeID())
				for i := range size {
					data, err := json.Marshal(bigNode(b, i))
					if err != nil {
						b.Fatal(err)
					}
					n := &node{}
					if err := json.Unmarshal(data, n); err != nil {
						b.Fatal(err)
					}
					tr.set(n, start.Add(time.Duration(i)*time.Second))
				}
				b.ReportMetric(float64(heap()-before)/float64(size), "B/node")
				runtime.KeepAlive(tr)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestThousandNodes shows what a node costs the API server: for the list, in an hour in which
// nothing changes, and while each kubelet reports its status every 5 minutes, as kubelets do.
func TestThousandNodes(t *testing.T) {
	const size = 1000
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		nodes := make([]object, size)
		for i := range nodes {
			nodes[i] = bigNode(t, i)
			api.mu.Lock()
			api.store("ADDED", nodes[i])
			api.mu.Unlock()
		}
		c := newClient(t, api)
		run(t, c)
		settle(time.Minute)
		measured := func() (bytes int, requests []string) {
			requests = api.asked()
			api.mu.Lock()
			defer api.mu.Unlock()
			bytes, api.sent = api.sent, 0
			return bytes, requests
		}
		if got := len(c.Snapshot().Affiliates); got != size {
			t.Fatalf("%d members, want %d", got, size)
		}
		bytes, requests := measured()
		t.Logf("list: %d bytes, requests %q", bytes, requests)

		settle(time.Hour)
		bytes, requests = measured()
		t.Logf("idle: %.1f bytes and %.2f requests a minute", float64(bytes)/60, float64(len(requests))/60)
		if bytes > 1000 || len(requests) > 12 || slices.Contains(requests, "list") {
			t.Errorf("an idle hour: %d bytes, requests %q", bytes, requests)
		}

		for _, n := range nodes[:size/5] { // a minute of it
			api.mu.Lock()
			api.store("MODIFIED", n)
			api.mu.Unlock()
			time.Sleep(5 * time.Minute / size)
		}
		settle(time.Second)
		bytes, requests = measured()
		t.Logf("with reports of kubelets: %.0f bytes and %.2f requests a minute", float64(bytes), float64(len(requests)))
		if slices.Contains(requests, "list") || len(requests) > 1 {
			t.Errorf("a minute with reports of kubelets: requests %q", requests)
		}
	})
}
