package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// twoServices adds a second discovery service.
const twoServices = "---\napiVersion: v1alpha1\nkind: DiscoveryServiceConfig\nname: two\nendpoint: https://two.example/\n"

// fakeCache is a cache in memory.
type fakeCache struct {
	mu      sync.Mutex // guards what follows, once the agent runs
	list    []discovery.Remembered
	secret  mesh.Secret
	writes  int
	dropped bool
	err     error
}

// fail makes the next calls fail, or no longer if err is nil.
func (c *fakeCache) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// kept returns what is kept, and how often it was written.
func (c *fakeCache) kept() ([]discovery.Remembered, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list), c.writes
}

func (c *fakeCache) Load(string, ...mesh.Secret) ([]discovery.Remembered, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(slices.Values(c.list), func(a, b discovery.Remembered) int { return strings.Compare(a.Affiliate.NodeID, b.Affiliate.NodeID) }), c.err
}

func (c *fakeCache) Keep(_ string, secret mesh.Secret, list []discovery.Remembered, refresh bool) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	same := slices.EqualFunc(list, c.list, func(a, b discovery.Remembered) bool {
		return reflect.DeepEqual(a.Affiliate, b.Affiliate) && slices.Equal(a.Sources, b.Sources)
	})
	if c.err != nil || same && secret == c.secret && !refresh {
		return false, c.err
	}
	c.list, c.secret = slices.Clone(list), secret
	c.writes++
	return true, nil
}

func (c *fakeCache) Drop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = true
	return nil
}

// apart is testPeer with another key for each number: keys that differ in their lowest three
// bits alone are the same.
func apart(n byte, endpoints ...string) mesh.Affiliate {
	a := testPeer(n<<3, endpoints...)
	a.Nodename = fmt.Sprint("node-", n)
	return a
}

// remembered returns an entry of the cache that these registries had until now.
func remembered(a mesh.Affiliate, sources ...string) discovery.Remembered {
	return discovery.Remembered{Affiliate: a, Sources: sources, Confirmed: time.Now().Add(-time.Hour)}
}

// cached runs an agent that has a cache. Before is called before the start.
func cached(t *testing.T, docs string, before func(h *harness, c *fakeCache), test func(h *harness, c *fakeCache)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, c := newHarness(t, meshDocument+docs), &fakeCache{}
		h.live, h.config.Cache = []string{liveEndpoint}, c
		before(h, c)
		h.start()
		test(h, c)
		if h.ctx.Err() == nil {
			h.stop()
		}
	})
}

// wantPeers checks which nodes are peers.
func (h *harness) wantPeers(what string, want ...string) {
	h.t.Helper()
	var got []string
	for _, p := range h.agent.Status().Peers {
		got = append(got, p.Label)
	}
	if !slices.Equal(got, want) {
		h.t.Errorf("%s: peers %v, want %v", what, got, want)
	}
}

// A node that starts while discovery is away finds the nodes that it remembers, and is
// ready. What it remembers is no longer used once a registry that had it has answered.
func TestCacheUntilDiscoveryAnswers(t *testing.T) {
	two, three := apart(2, liveEndpoint), apart(3, deadEndpoint)
	cached(t, "", func(_ *harness, c *fakeCache) {
		c.list = []discovery.Remembered{remembered(two, "service/one"), remembered(three, "service/one")}
	}, func(h *harness, c *fakeCache) {
		h.wantPeers("at the start", "node-2", "node-3")
		s := h.agent.Status()
		if !s.Ready || len(s.Discovery) != 2 || s.Discovery[1].Kind != "cache" || s.Discovery[1].Affiliates != 2 {
			t.Errorf("ready %v (%s), discovery %+v", s.Ready, s.NotReady, s.Discovery)
		}
		list, _ := c.kept()
		if src := s.Peers[0].Sources; len(src) != 1 || src[0].Source != "cache" || !src[0].Last.Equal(list[0].Confirmed) {
			t.Errorf("sources %+v", src)
		}
		if got := h.condition(conditionCache); got != "" {
			t.Errorf("a condition at once: %s", got)
		}
		h.registry().Show(discovery.Snapshot{LastError: errors.New("refused"), Since: time.Now()})
		h.advance(cacheShown)
		if got := h.condition(conditionCache); !strings.Contains(got, "taken from this node's cache: 2, last confirmed 1999-12-31T23:00:00Z") || !strings.Contains(got, "one (refused)") {
			t.Errorf("condition %q", got)
		}
		h.wantPeer(two, mesh.PeerStateUp, liveEndpoint)
		h.advance(time.Hour)
		if _, writes := c.kept(); writes != 0 {
			t.Errorf("%d writes without an answer of discovery", writes)
		}
		h.find(two)
		h.wantPeers("with an answer", "node-2")
		if got := h.condition(conditionCache); got != "" {
			t.Errorf("and the condition %s", got)
		}
		h.registry().Show(discovery.Snapshot{LastError: errors.New("refused"), Since: time.Now()})
		synctest.Wait()
		if n := len(h.agent.Status().Discovery); n != 1 {
			t.Errorf("the cache is back: %+v", h.agent.Status().Discovery)
		}
	})
}

// What one registry has to say of its nodes does not concern those of another one.
func TestCacheOfSeveralRegistries(t *testing.T) {
	var all []mesh.Affiliate
	for n := range byte(5) {
		all = append(all, apart(n+2))
	}
	cached(t, twoServices, func(_ *harness, c *fakeCache) {
		for i, sources := range [][]string{{"service/one"}, {"service/two"}, {"service/one", "service/two"}, {"service/away"}, {"k8s"}} {
			c.list = append(c.list, remembered(all[i], sources...))
		}
	}, func(h *harness, c *fakeCache) {
		h.wantPeers("at the start", "node-2", "node-3", "node-4", "node-5", "node-6")
		h.named["one"].Find(all[0])
		synctest.Wait()
		h.wantPeers("one has answered", "node-2", "node-3")
		h.advance(keepInterval + time.Minute)
		list, writes := c.kept()
		if want := [][]string{{"service/one"}, {"service/two"}}; writes != 1 || len(list) != 2 || !reflect.DeepEqual([][]string{list[0].Sources, list[1].Sources}, want) {
			t.Fatalf("%d writes, kept %+v", writes, list)
		}
		if at := list[1].Confirmed; time.Since(at) < time.Hour {
			t.Errorf("what two has not confirmed counts as confirmed at %v", at)
		}
		h.named["two"].Find()
		synctest.Wait()
		h.wantPeers("both have answered", "node-2")
	})
}

// A week after it was last confirmed, a node is not used any more. A clock that is wrong
// ends nothing.
func TestCacheAges(t *testing.T) {
	old, lately, unknown := remembered(apart(2), "service/one"), remembered(apart(3), "service/one"), remembered(apart(4), "service/one")
	fill := func(c *fakeCache) {
		lately.Confirmed = time.Now().Add(-forgetAfter + time.Hour)
		old.Confirmed, unknown.Confirmed = time.Now().Add(-forgetAfter), time.Time{}
		c.list = []discovery.Remembered{old, lately, unknown}
	}
	cached(t, "", func(_ *harness, c *fakeCache) { fill(c) }, func(h *harness, _ *fakeCache) {
		h.wantPeers("at the start", "node-3", "node-4")
		h.advance(time.Hour)
		h.wantPeers("an hour later", "node-4")
	})
	for what, recorded := range map[string]time.Duration{"behind": 30 * 24 * time.Hour, "years ahead": -10 * 365 * 24 * time.Hour} {
		cached(t, "", func(h *harness, c *fakeCache) {
			fill(c)
			if err := h.state.Replace("clock", []byte(time.Now().Add(recorded).UTC().Format(time.RFC3339)+"\n")); err != nil {
				t.Fatal(err)
			}
			var err error
			if h.config.Clock, err = state.OpenClock(h.state, state.ClockConfig{Synchronised: func() bool { return false }}); err != nil {
				t.Fatal(err)
			}
		}, func(h *harness, c *fakeCache) {
			h.wantPeers("with a clock that is "+what, "node-2", "node-3", "node-4")
			h.find(apart(2))
			h.advance(keepInterval + time.Minute)
			if list, writes := c.kept(); writes != 1 || !list[0].Confirmed.IsZero() {
				t.Errorf("with a clock that is %s, kept %+v", what, list)
			}
		})
	}
}

// Nodes that have left or are gone are not brought back, nor is what a node has changed since
// the cache was written.
func TestCacheBringsNobodyBack(t *testing.T) {
	cached(t, "", func(h *harness, c *fakeCache) {
		var pins []mesh.Pin
		for n := range byte(5) {
			e := remembered(apart(n+2), "service/one")
			e.Affiliate.Record = mesh.Record{Sequence: 5, Start: 1}
			p := mesh.Pin{NodeID: e.Affiliate.NodeID, PublicKey: e.Affiliate.PublicKey, Sequence: 5, Start: 1, FirstSeen: time.Now(), LastSeen: time.Now()}
			switch n {
			case 1:
				p.Left = true
			case 2:
				p.Gone = time.Now()
			case 3:
				e.Affiliate.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")}
				p.Sequence, p.PublicKey, p.Address, p.Networks = 6, apart(17).PublicKey, e.Affiliate.Address, e.Affiliate.AdditionalAddresses[1:]
			case 4:
				e.Affiliate.NodeID = h.config.Keys.NodeID
			}
			pins, c.list = append(pins, p), append(c.list, e)
		}
		slices.SortFunc(pins, func(a, b mesh.Pin) int { return strings.Compare(a.NodeID, b.NodeID) })
		h.config.Memory.SetPins(mesh.ULA(testClusterID), pins)
		expelled := remembered(apart(9), "service/one")
		digest, err := mesh.DigestNodeID(expelled.Affiliate.NodeID)
		if err != nil {
			t.Fatal(err)
		}
		c.list = append(c.list, expelled)
		h.config.Effective.Charter.Statement.Expelled = []mesh.NodeDigest{digest}
	}, func(h *harness, _ *fakeCache) {
		h.wantPeers("at the start", "node-2", "node-5")
		s := h.agent.Status()
		if p := s.Peers[1]; p.PublicKey != apart(17).PublicKey || slices.Contains(p.AllowedIPs, netip.MustParsePrefix("10.1.0.0/16")) || !slices.Contains(p.AllowedIPs, netip.MustParsePrefix("10.2.0.0/16")) {
			t.Errorf("with a newer pin: %+v", p)
		}
		for _, c := range s.Conditions {
			if c.Type == mesh.ConditionRecordOld {
				t.Errorf("condition %+v", c)
			}
		}
	})
}

// Changes are written once they have settled, and seldom. What did not change is written
// once a day.
func TestCacheIsWrittenSeldom(t *testing.T) {
	two := apart(2, liveEndpoint)
	cached(t, "", func(*harness, *fakeCache) {}, func(h *harness, c *fakeCache) {
		want := func(what string, writes int) {
			t.Helper()
			if _, got := c.kept(); got != writes {
				t.Errorf("%s: %d writes, want %d", what, got, writes)
			}
		}
		h.find(two)
		want("at once", 0)
		h.advance(mesh.ReconcileInterval)
		want("settled", 1)
		list, _ := c.kept()
		if e := list[0]; !slices.Equal(e.Sources, []string{"service/one"}) || e.Affiliate.NodeID != two.NodeID || time.Since(e.Confirmed) > time.Minute {
			t.Errorf("kept %+v", e)
		}
		for range 60 { // an hour of changes
			two.Hostname += "x"
			h.find(two)
			h.advance(time.Minute)
		}
		_, before := c.kept()
		if before < 10 || before > 14 {
			t.Errorf("%d writes within an hour", before)
		}
		h.advance(time.Hour)
		_, before = c.kept()
		h.advance(12 * time.Hour)
		want("12 hours without a change", before)
		h.advance(13 * time.Hour)
		want("a day without a change", before+1)

		h.device().Handshake(two.PublicKey, two.Endpoints[0])
		two.Hostname = "last"
		h.find(two)
		h.stop()
		want("at the end", before+2)
		if got := c.list[0].Affiliate.Hostname; got != "last" {
			t.Errorf("kept %q at the end", got)
		}
		if c.dropped {
			t.Error("dropped")
		}
	})
}

// The endpoint that works comes first, whatever the node announces.
func TestCacheRemembersWhatWorked(t *testing.T) {
	two := apart(2, deadEndpoint, liveEndpoint)
	cached(t, "", func(*harness, *fakeCache) {}, func(h *harness, c *fakeCache) {
		h.find(two)
		h.advance(3 * mesh.EndpointTimeout)
		h.wantPeer(two, mesh.PeerStateUp, liveEndpoint)
		h.stop()
		if got := c.list[0].Affiliate.Endpoints; len(got) != 2 || got[0].String() != liveEndpoint {
			t.Errorf("kept endpoints %v", got)
		}
	})
}

func TestCacheFails(t *testing.T) {
	cached(t, "", func(_ *harness, c *fakeCache) { c.fail(errors.New("no space left")) }, func(h *harness, c *fakeCache) {
		h.find(apart(2))
		h.advance(mesh.ReconcileInterval)
		h.advance(mesh.ReconcileInterval)
		if got := h.condition(conditionMemory); got != "no space left" {
			t.Errorf("condition %q", got)
		}
		h.wantLogged(1, "the cache of affiliates is not used")
		h.wantPeers("meanwhile", "node-2")
		c.fail(nil)
		h.advance(keepLook + time.Minute)
		_, writes := c.kept()
		if got := h.condition(conditionMemory); got != "" || writes != 1 {
			t.Errorf("with space again: condition %q, %d writes", got, writes)
		}
	})
}

func TestLeavingDropsTheCache(t *testing.T) {
	cached(t, "", func(*harness, *fakeCache) {}, func(h *harness, c *fakeCache) {
		h.find(apart(2))
		if err := h.agent.Leave(h.ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-h.exited; err != nil || !c.dropped || c.writes != 0 {
			t.Errorf("%v, dropped %v, %d writes", err, c.dropped, c.writes)
		}
		h.cancel()
	})
}
