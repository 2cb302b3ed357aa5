package kubernetes

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var test = codec.Cluster{ID: "test cluster", Secret: mesh.NewSecret([mesh.KeySize]byte{7})}

func nodeKey(n byte) mesh.NodeKey { return mesh.NewNodeKey([mesh.KeySize]byte{n}) }

// affiliate returns the unsigned affiliate of a node.
func affiliate(n byte) mesh.Affiliate {
	return mesh.Affiliate{
		NodeID: nodeKey(n).NodeID(), Nodename: fmt.Sprintf("node-%d", n), Hostname: fmt.Sprintf("node-%d.example.org", n),
		OperatingSystem: "Talos (v1.14.0)", MachineType: mesh.MachineWorker,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, n})},
		PublicKey: mesh.Key{n}, Address: netip.MustParseAddr(fmt.Sprintf("fd00::%d", n)),
		Endpoints: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 51820)},
	}
}

func signed(n byte, sequence uint64) mesh.Affiliate {
	a := affiliate(n)
	a.Record = mesh.Record{Sequence: sequence, Instance: 1, Start: 1}
	return a
}

// sealed returns the annotation of an affiliate, signed if it has a record.
func sealed(t testing.TB, n byte, a mesh.Affiliate) string {
	t.Helper()
	blob, _, err := codec.SealAffiliate(test, nodeKey(n), a, [codec.NonceSize]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(blob)
}

// inBoth returns the annotations that a node of wirespan has.
func inBoth(t testing.TB, n byte, a mesh.Affiliate) map[string]string {
	out := present(plain(a))
	out[Affiliate] = sealed(t, n, a)
	return out
}

func present(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		if v != "" {
			out[k] = v
		}
	}
	return out
}

// newClient returns the client of node 1, whose Node is own.
func newClient(t testing.TB, f *fakeAPI, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Kubeconfig: kubeconfig(t), Node: "own", ClusterID: test.ID, Secret: test.Secret,
		AffiliateID: nodeKey(1).NodeID(), NodeKey: nodeKey(1), Talos: true, Version: "test",
	}
	for _, c := range change {
		c(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.conns.dial = f.dial
	return c
}

// run runs a client until the test ends, or until stop is called.
func run(t testing.TB, c *Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// settle waits until nothing is under way for d.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func ids(s discovery.Snapshot) (out []string) {
	for _, a := range s.Affiliates {
		out = append(out, a.NodeID)
	}
	return out
}

func wantIDs(t *testing.T, c *Client, nodes ...byte) {
	t.Helper()
	var want []string
	for _, n := range nodes {
		want = append(want, nodeKey(n).NodeID())
	}
	slices.Sort(want)
	if got := ids(c.Snapshot()); !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
}

func wantProblem(t *testing.T, c *Client, text string) {
	t.Helper()
	problems := c.Snapshot().Problems
	if !slices.ContainsFunc(problems, func(p discovery.Problem) bool { return strings.Contains(p.Reason, text) }) {
		t.Errorf("problems %q, want one with %q", problems, text)
	}
}

func wantNoProblem(t *testing.T, c *Client) {
	t.Helper()
	if p := c.Snapshot().Problems; len(p) > 0 {
		t.Errorf("problems %q, want none", p)
	}
}

func bubble(t *testing.T, f func(t *testing.T, api *fakeAPI)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newFakeAPI(t)) })
}

func TestFollow(t *testing.T) {
	for _, streams := range []bool{true, false} {
		t.Run(fmt.Sprintf("streams=%v", streams), func(t *testing.T) {
			bubble(t, func(t *testing.T, api *fakeAPI) {
				api.noStreams = !streams
				api.set("own", nil)
				api.set("none", nil)
				api.set("node-2", present(plain(affiliate(2))))
				api.set("node-3", inBoth(t, 3, signed(3, 5)))
				c := newClient(t, api)
				run(t, c)
				settle(time.Second)
				s := c.Snapshot()
				if want := []mesh.Affiliate{signed(3, 5), affiliate(2)}; !s.Connected || !sameAffiliates(s.Affiliates, want) {
					t.Fatalf("connected %v, error %v, members\n%+v\nwant\n%+v", s.Connected, s.LastError, s.Affiliates, want)
				}
				if want := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244:1::/64")}; !slices.Equal(s.Networks, want) {
					t.Errorf("pod networks %v, want %v", s.Networks, want)
				}
				wantNoProblem(t, c)

				api.set("node-4", inBoth(t, 4, signed(4, 1)))
				api.remove("node-2")
				settle(time.Second)
				wantIDs(t, c, 3, 4)
				api.set("node-3", nil) // it has left
				settle(time.Second)
				wantIDs(t, c, 4)
			})
		})
	}
}

func sameAffiliates(got, want []mesh.Affiliate) bool {
	byID := func(list []mesh.Affiliate) map[string]mesh.Affiliate {
		out := map[string]mesh.Affiliate{}
		for _, a := range list {
			out[a.NodeID] = a
		}
		return out
	}
	return len(got) == len(want) && reflect.DeepEqual(byID(got), byID(want))
}

// An idle client asks for nothing but the renewal of its watch.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		api.set("node-2", inBoth(t, 2, signed(2, 5)))
		c := newClient(t, api)
		run(t, c)
		c.Publish(discovery.Local{Affiliate: signed(1, 1)})
		settle(time.Minute)
		api.asked()
		settle(time.Hour)
		asked := api.asked()
		if n := len(asked); n < 6 || n > 12 || slices.ContainsFunc(asked, func(v string) bool { return v != "watch" }) {
			t.Errorf("requests in an idle hour: %q, want 6 to 12 watches", asked)
		}
	})
}

func TestResume(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		for n := byte(2); n < 8; n++ {
			api.set(fmt.Sprintf("node-%d", n), inBoth(t, n, signed(n, 5)))
		}
		c := newClient(t, api)
		run(t, c)
		settle(10 * time.Second)
		api.stop()
		settle(time.Minute)
		if s := c.Snapshot(); s.Connected || s.LastError == nil {
			t.Errorf("without a server: connected %v, error %v", s.Connected, s.LastError)
		}
		wantIDs(t, c, 2, 3, 4, 5, 6, 7)
		api.set("node-8", inBoth(t, 8, signed(8, 5)))
		api.remove("node-2")
		api.asked()
		api.start()
		settle(2 * time.Minute)
		if s := c.Snapshot(); !s.Connected {
			t.Errorf("after the restart: not connected, error %v", s.LastError)
		}
		wantIDs(t, c, 3, 4, 5, 6, 7, 8)
		if asked := api.asked(); slices.Contains(asked, "list") {
			t.Errorf("requests after the restart %q: a list, where a watch had resumed", asked)
		}

		api.remove("node-3")
		api.compact()
		api.remove("node-4")
		api.compact()
		settle(2 * time.Minute)
		wantIDs(t, c, 5, 6, 7, 8)
		wantNoProblem(t, c)
	})
}

// A database that has lost more than half of the Nodes does not take the mesh down.
func TestLostDatabase(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		for n := byte(2); n < 6; n++ {
			api.set(fmt.Sprintf("node-%d", n), inBoth(t, n, signed(n, 5)))
		}
		c := newClient(t, api)
		run(t, c)
		settle(10 * time.Second)
		api.stop()
		for n := byte(2); n < 6; n++ {
			api.remove(fmt.Sprintf("node-%d", n))
		}
		api.compact()
		api.start()
		settle(3 * time.Minute)
		wantIDs(t, c, 2, 3, 4, 5)
		wantProblem(t, c, "more than half")
		settle(discovery.MaxTTL)
		wantIDs(t, c)
	})
}

func TestRivals(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		api.set("a", present(plain(affiliate(2))))
		api.set("b", inBoth(t, 2, signed(2, 5)))
		api.set("c", inBoth(t, 2, signed(2, 4))) // a copy of what b had before
		c := newClient(t, api)
		run(t, c)
		settle(time.Second)
		if got := c.Snapshot().Affiliates; len(got) != 1 || got[0].Record.Sequence != 5 {
			t.Fatalf("members %+v, want the newest signed one", got)
		}
		wantProblem(t, c, `"a", "b", "c"; that of "b" is used`)

		api.remove("b")
		settle(time.Second)
		if got := c.Snapshot().Affiliates; len(got) != 1 || got[0].Record.Sequence != 5 {
			t.Errorf("members %+v: an older record took the place of a newer", got)
		}
		api.remove("a")
		api.remove("c")
		settle(time.Second)
		wantIDs(t, c)
		wantNoProblem(t, c)
	})
}

// Who may write annotations can't speak for a node that signs.
func TestUnsignedAfterSigned(t *testing.T) {
	for name, annotations := range map[string]map[string]string{
		"dropped":  present(plain(affiliate(9))),
		"not base": {nodeIDKey: nodeKey(2).NodeID(), Affiliate: "%"},
		"garbage":  {nodeIDKey: nodeKey(2).NodeID(), Affiliate: "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, api *fakeAPI) {
				api.set("own", nil)
				api.set("node-2", inBoth(t, 2, signed(2, 5)))
				api.set("node-3", inBoth(t, 3, signed(3, 5)))
				c := newClient(t, api)
				run(t, c)
				settle(time.Second)
				annotations[nodeIDKey] = nodeKey(2).NodeID()
				api.set("node-2", annotations)
				settle(time.Second)
				if got := c.Snapshot().Affiliates; !sameAffiliates(got, []mesh.Affiliate{signed(2, 5), signed(3, 5)}) {
					t.Errorf("members %+v", got)
				}
				wantProblem(t, c, `Node "node-2": `)
			})
		})
	}
}

// After the host has moved, what hangs does not wait for its time-out.
func TestMoved(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		api.set("node-2", inBoth(t, 2, signed(2, 5)))
		c := newClient(t, api)
		run(t, c)
		settle(10 * time.Second)
		api.asked()
		c.Moved()
		settle(5 * time.Second)
		if asked := api.asked(); !slices.Equal(asked, []string{"watch"}) || !c.Snapshot().Connected {
			t.Errorf("requests %q, connected %v; want one watch", asked, c.Snapshot().Connected)
		}
		api.stop()
		settle(5 * time.Minute)
		api.start()
		c.Moved()
		settle(time.Second)
		if s := c.Snapshot(); !s.Connected {
			t.Errorf("not connected at once: %v", s.LastError)
		}
	})
}
