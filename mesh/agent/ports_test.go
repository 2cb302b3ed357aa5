package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/wirespan/wirespan/mesh"
)

// testPorts is a gateway that maps what the test says.
type testPorts struct {
	changed mesh.Signal

	mu       sync.Mutex
	wish     mesh.PortWish
	report   mesh.PortMapping
	released bool
}

func (p *testPorts) Set(w mesh.PortWish) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wish = w
}

func (p *testPorts) Report() mesh.PortMapping {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.report
}

func (p *testPorts) Changed() <-chan struct{} { return p.changed }

func (p *testPorts) Release(context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
}

func (p *testPorts) wished() mesh.PortWish {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wish
}

// withPorts runs an agent at a gateway that maps ports.
func withPorts(t *testing.T, document string, test func(h *harness, p *testPorts)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, p := newHarness(t, document), &testPorts{changed: mesh.NewSignal()}
		h.config.Ports = p
		h.start()
		test(h, p)
	})
}

func TestMappedPortIsAnnounced(t *testing.T) {
	withPorts(t, meshDocument, func(h *harness, p *testPorts) {
		h.find()
		mapped, seen := netip.MustParseAddrPort("11.90.0.7:51820"), netip.MustParseAddrPort("11.90.0.7:4000")
		d := h.device()
		d.With(func() { d.MappedEndpoints = []netip.AddrPort{seen} })
		p.mu.Lock()
		p.report = mesh.PortMapping{Protocol: "PCP", Ports: []mesh.MappedPort{{Use: mesh.PortWireGuard, Network: "udp", External: mapped}}}
		p.mu.Unlock()
		p.changed.Notify()
		synctest.Wait()
		got := h.registry().Last().Affiliate.Endpoints
		if i := slices.Index(got, mapped); i < 0 || i+1 >= len(got) || got[i+1] != seen {
			t.Errorf("announced are %v, want %v before %v", got, mapped, seen)
		}
		if s := h.agent.Status().PortMapping; s.Protocol != "PCP" {
			t.Errorf("status shows %+v", s)
		}
		if w := p.wished(); w.Refused != "" || len(w.Ports) != 1 || w.Ports[0].Number != h.device().ListenPort() || !slices.Equal(w.Seen, []netip.Addr{seen.Addr()}) {
			t.Errorf("wished for %+v", w)
		}
		h.stop()
		if p.released {
			t.Error("a stop removes the mappings, although the node stays a member")
		}
	})
}

func TestMappedPortIsReleasedOnLeave(t *testing.T) {
	withPorts(t, meshDocument, func(h *harness, p *testPorts) {
		h.find()
		if err := h.agent.Leave(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.released {
			t.Error("a leave keeps the mappings")
		}
	})
}

func TestPortsAreNotWishedFor(t *testing.T) {
	for want, document := range map[string]string{
		"portMapping is never":    meshDocument + "portMapping: never\n",
		"the mesh is off":         strings.Replace(meshDocument, "enabled: true", "enabled: false", 1),
		"extraAnnouncedEndpoints": meshDocument + "---\napiVersion: v1alpha1\nkind: KubeSpanEndpointsConfig\nextraAnnouncedEndpoints: [11.90.0.7:51820]\n",
	} {
		withPorts(t, document, func(h *harness, p *testPorts) {
			w := p.wished()
			for _, port := range w.Ports {
				w.Refused += port.Refused
			}
			if !strings.Contains(w.Refused, want) {
				t.Errorf("wished for %+v, want a refusal because %s", w, want)
			}
			h.stop()
		})
	}
}
