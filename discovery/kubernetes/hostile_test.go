package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// What a server sends that is none breaks nothing, and what was known stays.
func TestHostileServer(t *testing.T) {
	for name, answer := range map[string]string{
		"no JSON":             "{\n",
		"another kind":        `{"kind":"Pod","apiVersion":"v1"}` + "\n",
		"an event of nothing": `{"type":"ADDED","object":null}` + "\n",
		"an unknown event":    `{"type":"X","object":{"kind":"Node","apiVersion":"v1"}}` + "\n",
		"another object":      `{"type":"ADDED","object":{"kind":"Status","apiVersion":"v1"}}` + "\n",
		"a nameless Node":     `{"type":"ADDED","object":{"kind":"Node","apiVersion":"v1","metadata":{}}}` + "\n",
		"wrong types":         `{"kind":"NodeList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"annotations":[]}}]}` + "\n",
		"an endless event":    `{"type":"ADDED","object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"` + strings.Repeat("x", 2*maxEventSize),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, api *fakeAPI) {
				api.set("own", nil)
				api.set("node-2", inBoth(t, 2, signed(2, 5)))
				api.set("node-3", inBoth(t, 3, signed(3, 5)))
				c := newClient(t, api)
				run(t, c)
				settle(10 * time.Second)
				api.setRefuse(func(verb string, w http.ResponseWriter) bool {
					if verb == "list" || verb == "watch" {
						w.Header().Set("Content-Type", "application/json")
						_, _ = w.Write([]byte(answer))
						return true
					}
					return false
				})
				api.compact()
				api.asked()
				settle(30 * time.Second)
				if n := len(api.asked()); n > 30 {
					t.Errorf("%d requests in half a minute", n)
				}
				wantIDs(t, c, 2, 3)
				api.setRefuse(nil)
				api.set("node-4", inBoth(t, 4, signed(4, 5)))
				settle(3 * time.Minute)
				wantIDs(t, c, 2, 3, 4)
				if s := c.Snapshot(); !s.Connected {
					t.Errorf("not connected: %v", s.LastError)
				}
			})
		})
	}
}

// Whoever may write Nodes can't make the client hold or read more than its limits.
func TestManyNodes(t *testing.T) {
	tr := newTracker(test, nodeKey(1).NodeID())
	now := start
	for i := range maxNodes + 100 {
		n := &node{}
		n.Name, n.Annotations = fmt.Sprintf("node-%05d", i), map[string]string{nodeIDKey: fmt.Sprintf("id-%05d", i%3000)}
		tr.set(n, now)
		now = now.Add(10 * time.Millisecond)
	}
	affiliates, _ := tr.table.Result()
	if len(tr.nodes) != maxNodes || len(affiliates) > discovery.MaxAffiliates {
		t.Errorf("%d Nodes, %d members", len(tr.nodes), len(affiliates))
	}
	problems := tr.problems()
	if last := problems[len(problems)-1].Reason; !strings.Contains(last, "beyond the limit of 8192") {
		t.Errorf("problem %q", last)
	}
}

// bigNode is a Node of the size that real ones have: 50 images, conditions, managed fields.
func bigNode(tb testing.TB, i int) object {
	a := mesh.Affiliate{
		NodeID: nodeKey(2).NodeID()[:30] + fmt.Sprintf("%05d", i), Nodename: fmt.Sprintf("node-%d", i), PublicKey: mesh.Key{byte(i), byte(i >> 8), 1},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})},
		Endpoints: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 51820)},
	}
	annotations := object{}
	for k, v := range inBoth(tb, 2, a) {
		annotations[k] = v
	}
	var images []object
	for j := range 50 {
		images = append(images, object{"names": []string{fmt.Sprintf("registry.example.org/some/image-%d@sha256:%064d", j, j), fmt.Sprintf("registry.example.org/some/image-%d:v1.2.3", j)}, "sizeBytes": 12345678})
	}
	return object{
		"kind": "Node", "apiVersion": "v1",
		"metadata": object{"name": fmt.Sprintf("node-%d", i), "resourceVersion": "1", "labels": object{"kubernetes.io/hostname": "x"}, "annotations": annotations, "managedFields": strings.Repeat("m", 3000)},
		"spec":     object{"podCIDRs": []string{"10.244.0.0/24"}},
		"status":   object{"images": images, "conditions": strings.Repeat("c", 1500)},
	}
}

// What a server does that does not answer, or does not end, is named, and costs little.
func TestEndlessServer(t *testing.T) {
	const page = `{"kind":"NodeList","apiVersion":"v1","metadata":{"continue":"x"},"items":[]}`
	for name, test := range map[string]struct {
		answer func(verb string, w http.ResponseWriter, end chan struct{})
		within time.Duration
		want   string
	}{
		"no answer": {func(_ string, _ http.ResponseWriter, end chan struct{}) { <-end }, 2 * time.Minute, "no answer in time"},
		"a list that breaks off": {func(verb string, w http.ResponseWriter, _ chan struct{}) {
			if verb == "watch" {
				_, _ = w.Write([]byte(`{"type":"ADDED","object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"a"}}}`))
			}
		}, 10 * time.Second, "before it was complete"},
		"pages without end": {func(verb string, w http.ResponseWriter, _ chan struct{}) {
			if verb == "watch" {
				status(w, 422, "Invalid", "no streams")
			} else {
				_, _ = w.Write([]byte(page))
			}
		}, 10 * time.Second, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, api *fakeAPI) {
				end := make(chan struct{})
				defer close(end)
				api.set("own", nil)
				api.setRefuse(func(verb string, w http.ResponseWriter) bool {
					w.Header().Set("Content-Type", "application/json")
					test.answer(verb, w, end)
					return true
				})
				c := newClient(t, api)
				stop := run(t, c)
				settle(test.within)
				if s := c.Snapshot(); s.Connected || s.LastError == nil || !strings.Contains(s.LastError.Error(), test.want) {
					t.Errorf("connected %v, error %v, want %q", s.Connected, s.LastError, test.want)
				}
				if n := len(api.asked()); n > 20*maxPages {
					t.Errorf("%d requests", n)
				}
				stop()
			})
		})
	}
}

// A list that is streamed without end, in Nodes of full size, ends with an error.
func TestEndlessStream(t *testing.T) {
	n := &node{}
	n.Annotations = map[string]string{}
	for _, key := range keys() {
		n.Annotations[key] = strings.Repeat("x", maxValueSize)
	}
	w := &watcher{c: newClient(t, &fakeAPI{}), ctx: t.Context()}
	filter := w.filter(true)
	last := watch.Event{}
	for range maxListSize/n.size() + 1 {
		last, _ = filter(watch.Event{Type: watch.Added, Object: n})
	}
	if err := w.c.Snapshot().LastError; last.Type != watch.Error || !errors.Is(err, errTooLarge) {
		t.Errorf("event %s, error %v", last.Type, err)
	}
	filter = w.filter(false)
	for range 2 * maxListSize / n.size() {
		if last, _ = filter(watch.Event{Type: watch.Modified, Object: n}); last.Type != watch.Modified {
			t.Fatalf("event %s of a watch without a list", last.Type)
		}
	}
}

// A watch that is stopped while an event waits ends.
func TestStoppedWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := watch.NewFake()
		ctx, cancel := context.WithCancel(t.Context())
		f := newFiltered(ctx, cancel, source, func(e watch.Event) (watch.Event, bool) { return e, true })
		source.Add(&node{})
		synctest.Wait()
		f.Stop()
		synctest.Wait()
		if !source.IsStopped() {
			t.Error("the stream goes on")
		}
	})
}

// A list of empty objects is not read to its end.
func TestManyItems(t *testing.T) {
	var l nodeList
	text := `{"items":[{}` + strings.Repeat(",{}", maxListSize/emptyNode) + `]}`
	if err := json.Unmarshal([]byte(text), &l); !errors.Is(err, errTooLarge) {
		t.Errorf("%d items, error %v", len(l.Items), err)
	}
}

// Annotations of full size don't add up to more than their limit.
func TestLargeNodes(t *testing.T) {
	tr := newTracker(test, nodeKey(1).NodeID())
	set := func(name string, size int) {
		n := &node{}
		n.Name, n.Annotations = name, map[string]string{nodeIDKey: "id-" + name, addressesKey: strings.Repeat("x", size)}
		tr.set(n, start)
	}
	const each = 1 << 20
	for i := range maxTracked / each {
		set(fmt.Sprint(i), 1)
		set(fmt.Sprint(i), each)
	}
	if !tr.full || tr.size > maxTracked || len(tr.nodes) < maxTracked/each-2 {
		t.Errorf("%d Nodes of %d bytes, full: %v", len(tr.nodes), tr.size, tr.full)
	}
	for i := range maxTracked / each {
		tr.remove(fmt.Sprint(i), start)
	}
	if tr.size != 0 {
		t.Errorf("%d bytes of no Node", tr.size)
	}
}

// What is no node id is told of, with the Node, as long as it is there.
func TestBadIDs(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		api.set("node-2", inBoth(t, 2, signed(2, 5)))
		bad := func(name string) { api.set(name, map[string]string{nodeIDKey: strings.Repeat("\x1b", 40<<10)}) }
		bad("bad-1")
		c := newClient(t, api)
		run(t, c)
		settle(time.Second)
		wantProblem(t, c, `is not a node id: ignored of the Nodes "bad-1"`)
		for i := range 8 {
			bad(fmt.Sprintf("bad-%d", i))
		}
		settle(time.Second)
		wantProblem(t, c, `"bad-0", "bad-1", "bad-2", "bad-3" and 4 more`)
		wantIDs(t, c, 2)
		for i := range 8 {
			api.remove(fmt.Sprintf("bad-%d", i))
		}
		settle(time.Second)
		wantNoProblem(t, c)
		wantIDs(t, c, 2)
	})
}
