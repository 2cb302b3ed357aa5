package agent

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const raceDocument = `---
apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
`

// A peer that is not reached: the loop asks for a relay when it is time, announces the address
// that this gives, and shows by whom packets go.
func TestRelayIsUsed(t *testing.T) {
	bubble(t, []string{raceDocument}, func(h *harness) {
		peer, relay := testPeer(8, "203.0.113.1:51820"), testPeer(16, "198.51.100.1:51820")
		relay.Record = mesh.Record{Sequence: 1, Start: 1, Relay: 443}
		h.find(peer, relay)
		d := h.device()
		report := func(p mesh.PeerPath, at netip.AddrPort) {
			d.Signal(func() {
				d.Counters[peer.PublicKey] = mesh.PeerStats{PublicKey: peer.PublicKey, Path: &p, Endpoint: at}
				d.Counters[relay.PublicKey] = mesh.PeerStats{PublicKey: relay.PublicKey, Path: &mesh.PeerPath{Settled: true}, Endpoint: relay.Endpoints[0], LastHandshakeTime: time.Now()}
			})
			synctest.Wait()
		}
		wish := func() (w mesh.RelayWish) {
			d.With(func() { w = d.RelayWish })
			return w
		}
		h.advance(time.Second)
		report(mesh.PeerPath{Troubled: time.Now()}, netip.AddrPort{})
		h.advance(2900 * time.Millisecond)
		if w := wish(); w.Want != 0 {
			t.Errorf("after 2.9 s: %+v", w)
		}
		h.advance(1200 * time.Millisecond)
		w := wish()
		if w.Want == 0 || len(w.Relays) != 1 || w.Relays[0].Name != "node-16" || !slices.Contains(w.Peers, peer.Endpoints[0]) {
			t.Errorf("after 4.1 s: %+v", w)
			return
		}

		relayed := netip.MustParseAddrPort("198.51.100.1:49152")
		d.With(func() {
			d.RelayStatuses = []mesh.RelayStatus{{Relay: "node-16", Transport: "udp", Relayed: relayed, Permitted: true, RTT: time.Millisecond}}
		})
		via := mesh.Via(peer.Endpoints[0], "node-16")
		report(mesh.PeerPath{Settled: true}, via)
		h.advance(time.Second)
		if last := h.registry().Last().Affiliate; !slices.Contains(last.Endpoints, relayed) || !slices.Equal(last.Record.Relayed, []netip.AddrPort{relayed}) {
			t.Errorf("announced are %v, relayed %v", last.Endpoints, last.Record.Relayed)
		}
		if p := h.peer(peer); p.Relay != "node-16" || p.Endpoint != peer.Endpoints[0] || p.State != mesh.PeerStateUp {
			t.Errorf("shown is %+v", p)
		}
		if s := h.agent.Status().Relays; len(s) != 1 || s[0].Relayed != relayed || s[0].RTT != 1 {
			t.Errorf("relays shown: %+v", s)
		}

		report(mesh.PeerPath{Settled: true}, peer.Endpoints[0])
		h.advance(2 * time.Minute)
		if w := wish(); w.Want != 0 {
			t.Errorf("two minutes after the last use: %+v", w)
		}
	})
}

// relayFake is a relay that notes whom it is to serve.
type relayFake struct {
	Relaying
	set  []mesh.RelayService
	port uint16
}

func (r *relayFake) Set(s mesh.RelayService)      { r.set = append(r.set, s) }
func (r *relayFake) Port() uint16                 { return r.port }
func (r *relayFake) Usage() []mesh.RelayUsage     { return []mesh.RelayUsage{{Member: "node-1"}} }
func (r *relayFake) Conditions() []mesh.Condition { return nil }
func (r *relayFake) Changed() <-chan struct{}     { return nil }

func TestRelayIsOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, raceDocument)
		r := &relayFake{port: 443}
		h.config.Relaying = r
		h.start()
		defer h.stop()
		peer := testPeer(8, "203.0.113.1:51820")
		h.find(peer)
		h.advance(2 * time.Second)
		last := r.set[len(r.set)-1]
		if len(last.Members) != 1 || last.Members[0].Key != peer.PublicKey || last.Members[0].NodeID != peer.NodeID {
			t.Errorf("members: %+v", last.Members)
		}
		if !slices.Contains(last.Public, netip.MustParseAddr("192.0.2.1")) {
			t.Errorf("reached at %v", last.Public)
		}
		if got := h.registry().Last().Affiliate.Record.Relay; got != 443 {
			t.Errorf("announced port %d", got)
		}
		n := len(r.set)
		h.advance(10 * mesh.ReconcileInterval)
		if len(r.set) != n {
			t.Errorf("told %d times though nothing has changed", len(r.set)-n)
		}
		h.find()
		h.advance(time.Second)
		if last := r.set[len(r.set)-1]; len(last.Members) != 0 {
			t.Errorf("members after the peer has gone: %+v", last.Members)
		}
		if v := h.agent.Status().Relaying; v.Port != 443 || v.Ports == "" || len(v.Members) != 1 {
			t.Errorf("shown: %+v", v)
		}
	})
}
