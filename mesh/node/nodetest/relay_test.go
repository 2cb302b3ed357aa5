package nodetest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/server"
	"github.com/wirespan/wirespan/mesh"
)

var relayKey = relay.NewKey("cluster", mesh.NewSecret([32]byte{1}))

// tunnel is a device on a host, without the rest of a node.
type tunnel struct {
	*device.Device
	host    *Host
	key     mesh.PrivateKey
	address netip.Addr
}

func newTunnel(t *testing.T, h *Host, number byte) *tunnel {
	t.Helper()
	n := &tunnel{host: h, key: mesh.NewPrivateKey([32]byte{8 * number}), address: netip.AddrFrom16([16]byte{0xfd, 15: number})}
	var err error
	n.Device, err = device.Open(device.Config{
		TUN: NewStack(n.address, mesh.DefaultMTU), Bind: NewBind(h), PrivateKey: n.key, ListenPort: 51820, Log: keeper{hclog.NewNullLogger()},
		Relays: &relay.Access{
			Dial:    h.Dial,
			Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no names") },
			Credentials: func(mesh.Relay, time.Time) relay.Credentials {
				return relayKey.Credentials("node", time.Now())
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// at returns where a tunnel listens.
func (n *tunnel) at() netip.AddrPort { return netip.AddrPortFrom(n.host.Public(), 51820) }

func (n *tunnel) apply(t *testing.T, other *tunnel, endpoints ...netip.AddrPort) {
	t.Helper()
	p := mesh.PeerConfig{
		PublicKey: other.key.Public(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(other.address, 128)}, Address: other.address,
		PersistentKeepalive: mesh.PersistentKeepalive, Race: true,
	}
	for i, ep := range endpoints {
		p.Candidates = append(p.Candidates, mesh.Candidate{Endpoint: ep, Rank: i})
	}
	if err := n.Apply([]mesh.PeerConfig{p}); err != nil {
		t.Fatal(err)
	}
}

func (n *tunnel) peer(t *testing.T) mesh.PeerStats {
	t.Helper()
	all, err := n.Stats()
	if err != nil || len(all) != 1 {
		t.Fatalf("%d peers, %v", len(all), err)
	}
	return all[0]
}

// reaches reports whether a ping is answered in time.
func (n *tunnel) reaches(other *tunnel, size int, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := n.Ping(ctx, other.address, size)
	return err == nil
}

// serveRelay serves a relay on a host, for those who know relayKey. Nil: on a socket of its own,
// with port 51820.
func serveRelay(t *testing.T, h *Host, shared server.Socket) mesh.Relay {
	t.Helper()
	if shared == nil {
		socket, err := h.ListenUDP(51820)
		if err != nil {
			t.Fatal(err)
		}
		shared = socket
	}
	t.Cleanup(func() { _ = shared.Close() })
	s, err := server.New(server.Config{
		Sockets: []server.Socket{shared}, Public4: h.Public(), FirstPort: 40000, LastPort: 40009, Keys: func(string) []relay.Key { return []relay.Key{relayKey} },
		Listen: func(_ string, port uint16) (server.Socket, error) { return h.ListenUDP(port) },
		Authorize: func(user string) (server.Member, bool) {
			return server.Member{Name: "node"}, user == relay.User("node")
		},
		Own: func(netip.Addr) bool { return false }, WireGuardPort: func() uint16 { return 51820 },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	at := netip.AddrPortFrom(h.Public(), 51820)
	return mesh.Relay{Name: "at-" + h.Public().String(), NodeID: "relay", Servers: []netip.AddrPort{at}}
}

// relayed waits until a device has so many addresses, and returns them.
func (n *tunnel) relayed(t *testing.T, want int) (list []netip.AddrPort) {
	t.Helper()
	for range 100 {
		list = nil
		for _, r := range n.Relays() {
			if r.Relayed.IsValid() && r.Permitted {
				list = append(list, r.Relayed)
			}
		}
		if len(list) == want {
			return list
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("relays are %+v", n.Relays())
	return nil
}

// A node that hears nothing but relays and a node that does not know of any reach each other, with
// full packets. A stray direct packet moves the peer; the next relayed one brings it back.
func TestReachedByRelayAlone(t *testing.T) {
	for name, embedded := range map[string]bool{"socket of its own": false, "WireGuard's port": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRouter(1)
				a := newTunnel(t, r.Internet().Host("192.0.2.1"), 1)
				b := newTunnel(t, r.Internet().Host("192.0.2.2"), 2)
				rh := r.Internet().Host("198.51.100.1")
				var shared server.Socket
				if embedded {
					shared = newTunnel(t, rh, 3).Shared()
				}
				offered := serveRelay(t, rh, shared)
				atA, atB := a.at(), b.at()
				between := func(d Datagram) bool {
					return d.Source == atA && d.Destination == atB || d.Source == atB && d.Destination == atA
				}
				r.Drop(between)
				a.SetRelays(mesh.RelayWish{Relays: []mesh.Relay{offered}, Want: 1, Peers: []netip.AddrPort{b.at()}})
				at := a.relayed(t, 1)[0]
				via := mesh.Via(b.at(), offered.Name)
				a.apply(t, b, b.at(), via)
				b.apply(t, a, at)
				time.Sleep(8 * time.Second)
				if !a.reaches(b, 56, time.Second) || !b.reaches(a, 56, time.Second) {
					t.Fatalf("after 8 s: %+v, %+v", a.peer(t), b.peer(t))
				}
				if got := a.peer(t).Endpoint; got != via {
					t.Errorf("a's endpoint is %v, want %v", got, via)
				}
				if got := b.peer(t).Endpoint; got != at {
					t.Errorf("b's endpoint is %v, want %v", got, at)
				}
				for range 20 {
					if full := mesh.DefaultMTU - 48; !a.reaches(b, full, time.Second) || !b.reaches(a, full, time.Second) {
						t.Fatal("full packets do not pass")
					}
				}

				// The next packet to b goes astray: it leaves from a itself.
				var strayed atomic.Bool
				r.Drop(func(d Datagram) bool {
					if d.Source == at && d.Destination == atB && d.Message() == Transport && strayed.CompareAndSwap(false, true) {
						stray := slices.Clone(d.Payload)
						go func() { _ = a.host.sockets[51820].send(netip.Addr{}, atB, stray) }()
						return true
					}
					return between(d) && !(strayed.Load() && d.Source == atA && d.Destination == atB)
				})
				a.reaches(b, 56, 500*time.Millisecond)
				if got := b.peer(t).Endpoint; !strayed.Load() || got != a.at() {
					t.Errorf("after a stray packet b's endpoint is %v", got)
				}
				r.Drop(between)
				if !a.reaches(b, 56, time.Second) || !b.reaches(a, 56, time.Second) {
					t.Error("after a stray packet and a relayed one they do not reach each other")
				}
				if got := b.peer(t).Endpoint; got != at {
					t.Errorf("b's endpoint is %v, want %v", got, at)
				}
			})
		})
	}
}

// With two relays, data goes on by the other one when one dies. The peer announces nothing new.
func TestRelayDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter(1)
		a := newTunnel(t, r.Internet().Host("192.0.2.1"), 1)
		b := newTunnel(t, r.Internet().Host("192.0.2.2"), 2)
		first, second := r.Internet().Host("198.51.100.1"), r.Internet().Host("198.51.100.2")
		offers := []mesh.Relay{serveRelay(t, first, nil), serveRelay(t, second, nil)}
		relays := []netip.Addr{first.Public(), second.Public()}
		r.Drop(func(d Datagram) bool { // a and b have no way but relays
			return !slices.Contains(relays, d.Source.Addr()) && !slices.Contains(relays, d.Destination.Addr())
		})
		a.SetRelays(mesh.RelayWish{Relays: offers, Want: 2, Peers: []netip.AddrPort{b.at()}})
		b.apply(t, a, a.relayed(t, 2)...)
		a.apply(t, b, mesh.Via(b.at(), offers[0].Name), mesh.Via(b.at(), offers[1].Name))
		time.Sleep(8 * time.Second)
		if !a.reaches(b, 56, time.Second) {
			t.Fatalf("after 8 s: %+v", a.peer(t))
		}
		_, used := mesh.Direct(a.peer(t).Endpoint)
		dead := first
		if strings.HasSuffix(used, second.Public().String()) {
			dead = second
		}
		dead.SetLine(Line{BlocksUDP: true})
		began := time.Now()
		for !a.reaches(b, 56, 500*time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("after %v: %+v, %+v, %+v", time.Since(began), a.Relays(), a.peer(t), b.peer(t))
			}
		}
		a.relayed(t, 1)
	})
}
