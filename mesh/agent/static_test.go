package agent

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// withStatic runs an agent with a peers file beside the services of its documents.
func withStatic(t *testing.T, services int, test func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.live = []string{liveEndpoint}
		e := h.config.Effective
		e.Sources = append(e.Sources[:services], Source{Kind: discovery.KindStatic, Name: "static"})
		h.start()
		test(h)
		h.stop()
	})
}

func static(n byte, endpoints ...string) mesh.Affiliate {
	a := apart(n, endpoints...)
	a.Static = true
	return a
}

// A peers file alone makes a node ready, and nobody is waited for.
func TestStaticPeersAlone(t *testing.T) {
	withStatic(t, 0, func(h *harness) {
		s := h.agent.Status()
		if s.Ready || s.NotReady == "" {
			t.Errorf("ready without a good file: %+v", s.Discovery)
		}
		h.named["static"].Show(discovery.Snapshot{Affiliates: []mesh.Affiliate{static(2, liveEndpoint)}, Connected: true, Published: true})
		synctest.Wait()
		h.advance(time.Second)
		s = h.agent.Status()
		if !s.Ready || len(s.Discovery) != 1 || s.Discovery[0].Kind != "static" || s.Discovery[0].Affiliates != 1 {
			t.Errorf("ready %v (%s), discovery %+v", s.Ready, s.NotReady, s.Discovery)
		}
		h.wantPeer(static(2), mesh.PeerStateUp, liveEndpoint)
		if src := s.Peers[0].Sources; len(src) != 1 || src[0].Source != "static" || !src[0].Last.IsZero() {
			t.Errorf("sources %+v", src)
		}
	})
}

// A file with a mistake is a condition, and removes nobody. A service that is away does not
// make a node unready that has static peers.
func TestStaticPeersBesideAService(t *testing.T) {
	withStatic(t, 1, func(h *harness) {
		file, service := h.named["static"], h.named["one"]
		file.Show(discovery.Snapshot{Affiliates: []mesh.Affiliate{static(2, liveEndpoint)}, Connected: true})
		synctest.Wait()
		h.advance(time.Minute)
		if s := h.agent.Status(); !s.Ready {
			t.Errorf("not ready: %s", s.NotReady)
		}
		if h.agent.sources.answered {
			t.Error("a peers file counts as an answer of discovery")
		}
		service.Find(apart(3))
		file.Show(discovery.Snapshot{
			Affiliates: []mesh.Affiliate{static(2, liveEndpoint)}, Connected: true, Problems: []discovery.Problem{{Reason: "peers file: peers.yaml:3: mistake"}},
		})
		synctest.Wait()
		h.wantPeers("with a mistake", "node-2", "node-3")
		if got := h.condition(conditionData); got != "peers file: peers.yaml:3: mistake" {
			t.Errorf("condition %q", got)
		}
		service.Show(discovery.Snapshot{Affiliates: []mesh.Affiliate{apart(3)}, LastError: errors.New("away"), Since: time.Now()})
		file.Show(discovery.Snapshot{Connected: true})
		synctest.Wait()
		h.wantPeers("removed from the file, with a session", "node-3")
	})
}

// A wrong key in the file is told although discovery has the node.
func TestStaticPeerOfANodeThatSigns(t *testing.T) {
	withStatic(t, 1, func(h *harness) {
		signed, said := apart(3), static(3)
		signed.Record, said.PublicKey = mesh.Record{Sequence: 1, Start: 1}, apart(4).PublicKey
		h.named["one"].Find(signed)
		show := func(a mesh.Affiliate) {
			h.named["static"].Show(discovery.Snapshot{Affiliates: []mesh.Affiliate{a}, Connected: true})
			synctest.Wait()
		}
		show(said)
		if got := h.condition(mesh.ConditionStaticRefused); !strings.Contains(got, said.PublicKey.String()) || !strings.Contains(got, "and has "+signed.PublicKey.String()) {
			t.Errorf("condition %q", got)
		}
		show(static(3))
		if got := h.condition(mesh.ConditionStaticRefused); got != "" {
			t.Errorf("with its own key: %q", got)
		}
	})
}

// Affiliates show who has a node, since when, and about what sources contradict each other.
func TestAffiliatesShowTheirSources(t *testing.T) {
	bubble(t, []string{meshDocument, twoServices}, func(h *harness) {
		start := time.Now().UTC()
		one, two := apart(2), apart(2)
		two.Hostname = "another"
		show := func(name string, at time.Time, a mesh.Affiliate) {
			h.named[name].Show(discovery.Snapshot{Affiliates: []mesh.Affiliate{a}, Heard: []discovery.Heard{{Since: at}}, Connected: true})
			synctest.Wait()
		}
		show("one", start.Add(-time.Hour), one)
		show("two", start, two)
		read := func() (spec affiliateSpec, version int) {
			list, _ := h.agent.Resources().List("Affiliates.cluster.talos.dev", one.NodeID, false)
			if len(list) != 1 {
				t.Fatalf("%d affiliates", len(list))
			}
			if err := json.Unmarshal(list[0].Spec, &spec); err != nil {
				t.Fatal(err)
			}
			return spec, list[0].Metadata.Version
		}
		spec, version := read()
		if want := []SourceView{{Source: "service/two", Since: start}, {Source: "service/one", Since: start.Add(-time.Hour)}}; !slices.Equal(spec.Sources, want) {
			t.Errorf("sources %+v, want %+v", spec.Sources, want)
		}
		if from := spec.Contested["hostname"]; spec.Hostname != "another" || len(spec.Contested) != 1 || strings.Join(from, ",") != "service/two" {
			t.Errorf("hostname %q, contested %v", spec.Hostname, spec.Contested)
		}
		h.advance(time.Hour)
		if _, later := read(); later != version {
			t.Errorf("version %d after an hour without news, it was %d", later, version)
		}
		h.named["two"].Show(discovery.Snapshot{
			Affiliates: []mesh.Affiliate{two}, Heard: []discovery.Heard{{Since: start}}, LastError: errors.New("away"), Since: start.Add(time.Hour),
		})
		synctest.Wait()
		spec, _ = read()
		if spec.Hostname == "another" || spec.Sources[1] != (SourceView{"service/two", start, start.Add(time.Hour)}) {
			t.Errorf("with a source that is away: %q, %+v", spec.Hostname, spec.Sources)
		}
	})
}
