package portmap

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// world is a Mapper at a gateway in memory.
type world struct {
	*Mapper
	*testing.T
	fake *fakeGateway
	way  mesh.Gateway // guarded by fake.mu
	none error        // likewise
	wish mesh.PortWish
}

// start runs a Mapper in a bubble. Set up changes the gateway before.
func start(t *testing.T, setUp func(w *world), then func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, fake: newGateway(t), way: gateway, wish: mesh.PortWish{Ports: []mesh.Port{wg, disco}}}
		setUp(w)
		w.Mapper = New(Config{Sockets: w.fake, Nonce: nonce, Gateway: func() (mesh.Gateway, error) {
			w.fake.mu.Lock()
			defer w.fake.mu.Unlock()
			return w.way, w.none
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Mapper.Run(ctx)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		w.Set(w.wish)
		then(w)
	})
}

// after lets time pass.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// expect checks where ports are mapped, by which protocol; "": they are not.
func (w *world) expect(protocol string, want ...netip.AddrPort) {
	w.Helper()
	r := w.Report()
	got := append(r.Mapped(mesh.PortWireGuard, "udp"), r.Mapped(mesh.PortDiscovery, "tcp")...)
	if r.Protocol != protocol || len(got) != len(want) || (r.Reason == "") != (len(want) > 0) {
		w.Fatalf("%+v, want %v by %s", r, want, protocol)
	}
	for i, ep := range want {
		if got[i] != ep {
			w.Fatalf("%+v, want %v by %s", r, want, protocol)
		}
	}
}

var at = []netip.AddrPort{netip.AddrPortFrom(outside, 51820), netip.AddrPortFrom(outside, 443)}

// Both protocols map, renew, map again after a restart of the gateway, and remove.
func TestMapping(t *testing.T) {
	for name, setUp := range map[string]func(w *world){
		"PCP":     func(w *world) { w.fake.pcp = true },
		"NAT-PMP": func(w *world) { w.fake.pmp = true },
	} {
		t.Run(name, func(t *testing.T) {
			start(t, setUp, func(w *world) {
				w.after(time.Second)
				w.expect(name, at...)
				<-w.Changed()
				first := w.Report().Ports[0].Expires
				w.after(61 * time.Minute)
				if renewed := w.Report().Ports[0].Expires; renewed.Sub(first) < 59*time.Minute {
					t.Errorf("after an hour: until %v, before %v", renewed, first)
				}
				w.fake.restart()
				w.after(61 * time.Second)
				if w.fake.mapped(wg) != 51820 || w.fake.mapped(disco) != 443 {
					t.Errorf("after a restart: %v", w.fake.mappings)
				}
				select {
				case <-w.Changed():
					t.Error("a change was told, and there was none")
				default:
				}
				w.Release(w.Context())
				if w.fake.mapped(wg) != 0 || w.fake.mapped(disco) != 0 {
					t.Errorf("after Release: %v", w.fake.mappings)
				}
			})
		})
	}
}

// Requests are few: one look a minute, two renewals an hour.
func TestRequestsAreFew(t *testing.T) {
	start(t, func(w *world) { w.fake.pmp = true }, func(w *world) {
		w.after(10 * time.Hour)
		if n := w.fake.requests("pmp"); n > 625 {
			t.Errorf("%d requests in 10 hours", n)
		}
	})
	start(t, func(w *world) { w.fake.silent = true }, func(w *world) {
		w.after(10 * time.Hour)
		if n := w.fake.requests("all"); n < 200 || n > 240 {
			t.Errorf("a gateway that is silent is sent %d datagrams in 10 hours", n)
		}
	})
}

// A short lifetime is renewed in time, and one that would keep the node busy is not.
func TestShortLifetime(t *testing.T) {
	start(t, func(w *world) { w.fake.pcp, w.fake.lifetime = true, 10*time.Second }, func(w *world) {
		for range 20 {
			w.after(3 * time.Second)
			w.expect("PCP", at...)
		}
	})
	start(t, func(w *world) { w.fake.pcp, w.fake.lifetime = true, time.Second }, func(w *world) {
		w.after(time.Minute)
		if n := w.fake.requests("pcp"); n > 35 {
			t.Errorf("%d requests in a minute", n)
		}
	})
}

// A gateway that is away keeps its mappings until they expire, and is found again when it is
// back.
func TestGatewayAway(t *testing.T) {
	start(t, func(w *world) { w.fake.pmp, w.fake.lifetime = true, 10*time.Minute }, func(w *world) {
		w.after(time.Second)
		w.fake.with(func() { w.fake.silent = true })
		w.after(3 * time.Minute)
		w.expect("NAT-PMP", at...)
		w.after(10 * time.Minute)
		w.expect("")
		w.fake.restart()
		w.fake.with(func() { w.fake.silent = false })
		w.after(retryNone)
		w.expect("NAT-PMP", at...)
	})
}

// Another external address is taken up, and one that is not public is not announced.
func TestExternalAddress(t *testing.T) {
	start(t, func(w *world) { w.fake.pmp = true }, func(w *world) {
		w.after(time.Second)
		w.fake.with(func() { w.fake.external = netip.MustParseAddr("11.90.0.8") })
		w.after(time.Minute)
		w.expect("NAT-PMP", netip.MustParseAddrPort("11.90.0.8:51820"), netip.MustParseAddrPort("11.90.0.8:443"))
		w.fake.with(func() { w.fake.external = netip.MustParseAddr("100.64.3.4") })
		w.after(time.Minute)
		w.expect("")
	})
	for protocol, setUp := range map[string]func(w *world){
		"PCP": func(w *world) { w.fake.pcp = true }, "NAT-PMP": func(w *world) { w.fake.pmp = true },
	} {
		start(t, func(w *world) { setUp(w); w.fake.external = netip.MustParseAddr("100.64.3.4") }, func(w *world) {
			w.after(10 * time.Second)
			w.expect("")
			if r := w.Report(); !strings.Contains(r.Reason, "100.64.3.4 is not public") || r.External != netip.MustParseAddr("100.64.3.4") {
				t.Errorf("%s: %+v", protocol, r)
			}
			if w.fake.mapped(wg) != 0 {
				t.Errorf("%s: a mapping that leads nowhere stays", protocol)
			}
		})
	}
}

// The gateway is asked no more than is allowed, and mappings that are not wished for any more
// are removed.
func TestWishes(t *testing.T) {
	start(t, func(w *world) { w.fake.pcp, w.wish.Pending = true, true }, func(w *world) {
		w.after(stunPatience / 2)
		if n := w.fake.requests("pcp"); n > 0 {
			t.Errorf("%d requests before STUN servers have answered", n)
		}
		w.after(stunPatience)
		w.expect("PCP", at...)
		w.Set(mesh.PortWish{Ports: []mesh.Port{wg}})
		w.after(time.Second)
		w.expect("PCP", at[0])
		if w.fake.mapped(disco) != 0 {
			t.Error("the mapping of the discovery server's port stays")
		}
		moved := mesh.Port{Use: mesh.PortWireGuard, Number: 4000}
		w.Set(mesh.PortWish{Ports: []mesh.Port{moved}})
		w.after(time.Second)
		w.expect("PCP", netip.AddrPortFrom(outside, 4000))
		if w.fake.mapped(wg) != 0 {
			t.Error("the mapping of the former port stays")
		}
		w.Set(mesh.PortWish{Ports: []mesh.Port{moved}, Translation: mesh.TranslationNone})
		w.after(time.Second)
		w.expect("")
		if w.fake.mapped(moved) != 0 {
			t.Error("the mapping stays without a NAT")
		}
	})
}

// A host that moves asks its new gateway, also if that has the same address.
func TestGatewayChanges(t *testing.T) {
	start(t, func(w *world) { w.fake.pcp = true }, func(w *world) {
		w.after(time.Minute)
		w.fake.with(func() { w.none, w.way = errors.New("no default route"), mesh.Gateway{} })
		w.wish.Moves++
		w.Set(w.wish)
		w.after(time.Second)
		w.expect("")
		w.fake.restart()
		w.fake.with(func() {
			w.none, w.way = nil, mesh.Gateway{Address: gateway.Address, Source: netip.MustParseAddr("192.168.1.9")}
		})
		w.wish.Moves++
		w.Set(w.wish)
		w.after(time.Second)
		w.expect("PCP", at...)
		w.fake.restart()
		w.fake.with(func() { w.fake.pcp, w.fake.pmp = false, true })
		w.wish.Moves++
		w.Set(w.wish)
		w.after(forceGap)
		w.expect("NAT-PMP", at...)
	})
}

// Another protocol is tried if one is refused, and the refusal is told.
func TestRefusal(t *testing.T) {
	start(t, func(w *world) { w.fake.pcp, w.fake.refusal = true, 2 }, func(w *world) {
		w.after(10 * time.Second)
		w.expect("")
		if r := w.Report().Reason; !strings.Contains(r, "PCP: the gateway refuses with code 2") || !strings.Contains(r, "NAT-PMP: not offered") {
			t.Error(r)
		}
	})
}

// Release does not wait for a gateway that is silent.
func TestReleaseIsQuick(t *testing.T) {
	start(t, func(w *world) { w.fake.silent = true }, func(w *world) {
		w.after(time.Second)
		asked := time.Now()
		w.Release(w.Context())
		if took := time.Since(asked); took > 0 {
			t.Errorf("it takes %v", took)
		}
	})
	start(t, func(w *world) { w.fake.pcp = true }, func(w *world) {
		w.after(time.Second)
		w.fake.with(func() { w.fake.silent = true })
		asked := time.Now()
		w.Release(w.Context())
		if took := time.Since(asked); took > releaseTimeout {
			t.Errorf("it takes %v", took)
		}
	})
}

// A host without an agent finds out which protocol there is, and maps nothing.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.pmp = true
		c := Config{Sockets: g, Gateway: func() (mesh.Gateway, error) { return gateway, nil }}
		r := Probe(t.Context(), c, mesh.PortWish{Ports: []mesh.Port{wg}})
		if r.Protocol != "NAT-PMP" || r.External != outside || r.Gateway != gateway.Address || r.Reason == "" || len(g.mappings) > 0 {
			t.Errorf("%+v; it maps %v", r, g.mappings)
		}
		g.silent = true
		if r := Probe(t.Context(), c, mesh.PortWish{Ports: []mesh.Port{wg}}); r.Protocol != "" || !strings.Contains(r.Reason, "no answer") {
			t.Errorf("%+v", r)
		}
	})
}
