package agent

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/wirespan/wirespan/mesh"
)

func TestMappedEndpointsAreAnnounced(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find()
		mapped := netip.MustParseAddrPort("203.0.113.9:4000")
		announced := func() bool { return slices.Contains(h.registry().Last().Affiliate.Endpoints, mapped) }
		if announced() {
			t.Fatal("announced before it is known")
		}
		d := h.device()
		d.With(func() { d.MappedEndpoints = []netip.AddrPort{mapped} })
		h.advance(mesh.ReconcileInterval)
		if !announced() {
			t.Errorf("announced are %v, want %v among them", h.registry().Last().Affiliate.Endpoints, mapped)
		}
	})
}

func TestDeviceIsToldOfServersAndMoves(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		told := func() (s mesh.STUN) {
			d := h.device()
			d.With(func() { s = d.STUN })
			return s
		}
		before := told()
		if want := []netip.Addr{netip.MustParseAddr("192.0.2.1")}; !slices.Equal(before.Local, want) || before.Answer {
			t.Errorf("the device was told %+v, want the addresses %v", before, want)
		}
		h.advance(10 * mesh.ReconcileInterval)
		if s := told(); s.Moves != before.Moves {
			t.Errorf("moves went from %d to %d, though nothing has changed", before.Moves, s.Moves)
		}
		h.reload = func() (*Effective, error) {
			e := settings(t, identityDocuments, meshDocument)
			e.STUN, e.AnswerSTUN = []string{"192.0.2.9:3478"}, true
			return e, nil
		}
		if _, err := h.agent.Reload(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		h.host.Change(func() {})
		synctest.Wait()
		if s := told(); s.Moves == before.Moves || !slices.Equal(s.Servers, []string{"192.0.2.9:3478"}) || !s.Answer {
			t.Errorf("after a change of both: %+v", s)
		}
	})
}
