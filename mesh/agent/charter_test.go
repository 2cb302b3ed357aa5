package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// A node of an own mesh tells what the authority says, follows it, and repeats it.
func TestCharter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := mesh.NewAuthorityKey([32]byte{1})
		h := newHarness(t, meshDocument)
		h.live = []string{liveEndpoint}
		e := h.config.Effective
		e.Own, e.Charter.Authority = true, authority.Authority()
		var views []mesh.Charter // as Refresh is to return them
		var seen []MeshView
		h.config.Mesh = func(v MeshView) { seen = append(seen, v) }
		h.config.Refresh = func() (*Effective, error) {
			next := *e
			next.Charter = views[len(views)-1]
			return &next, nil
		}
		h.start()
		defer h.stop()
		peer := signedPeer(t, 2, mesh.Record{})
		h.find(peer)
		h.advance(mesh.ReconcileInterval)
		if v := seen[len(seen)-1]; v.Statement != "" || v.Refused || len(h.agent.Status().Peers) != 1 {
			t.Fatalf("seen %+v, peers %+v", v, h.agent.Status().Peers)
		}

		statement := mesh.Statement{Number: 1, SecretNumber: 1}
		text := string(authority.Sign(testClusterID, statement))
		h.find(signedPeer(t, 2, mesh.Record{Statement: text}))
		if v := seen[len(seen)-1]; v.Statement != text {
			t.Errorf("seen %+v, want the statement", v)
		}
		views = append(views, mesh.Charter{Authority: e.Charter.Authority, Statement: statement, Repeated: text, SecretNumber: 1, Next: mesh.NewSecret([32]byte{9})})
		if err := h.agent.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := h.registry().Last().Affiliate.Record; r.Statement != text || r.SecretNumber != 1 {
			t.Errorf("published %+v", r)
		}
		if got := h.condition(conditionChanging); !strings.Contains(got, "the mesh changes to a new secret") {
			t.Errorf("condition %q", got)
		}

		d, err := mesh.DigestNodeID(h.config.Keys.NodeID)
		if err != nil {
			t.Fatal(err)
		}
		statement.Expelled = []mesh.NodeDigest{d}
		views = append(views, mesh.Charter{Authority: e.Charter.Authority, Statement: statement})
		if err := h.agent.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := h.agent.Status(); len(s.Peers) > 0 || h.condition(conditionExpelled) == "" || !h.device().Closed {
			t.Errorf("an expelled node goes on: peers %+v, condition %q", s.Peers, h.condition(conditionExpelled))
		}
		if len(h.fw.Routed()) == 0 {
			t.Error("the routes of an expelled node are gone: its packets would leave in the clear")
		}

		h.registry().Show(discovery.Snapshot{LastError: fmt.Errorf("hello: %w", discovery.ErrRefused)})
		synctest.Wait()
		if v := seen[len(seen)-1]; !v.Refused {
			t.Errorf("seen %+v, want a refusal", v)
		}
	})
}

// During a change, only nodes that are known are taken from where the former secret leads.
func TestFormerSourceAdmitsTheKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		e := *h.config.Effective
		e.Own = true
		h.config.Effective = &e
		former := e
		former.Sources = slices.Clone(e.Sources)
		former.Sources[0].Former = true
		h.config.Refresh = func() (*Effective, error) { return &former, nil }
		h.start()
		defer h.stop()
		known, stranger := signedPeer(t, 2, mesh.Record{}), signedPeer(t, 3, mesh.Record{})
		h.find(known)
		if err := h.agent.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.find(known, stranger)
		if s := h.agent.Status(); len(s.Peers) != 1 || s.Peers[0].PublicKey != known.PublicKey {
			t.Errorf("peers %+v", s.Peers)
		}
	})
}

// signedPeer is a peer that signs.
func signedPeer(t *testing.T, n byte, r mesh.Record) mesh.Affiliate {
	t.Helper()
	a := testPeer(n, liveEndpoint)
	a.NodeID = mesh.NewNodeKey([32]byte{n}).NodeID()
	a.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	r.Sequence, r.Start = 1, 1
	a.Record = r
	return a
}
