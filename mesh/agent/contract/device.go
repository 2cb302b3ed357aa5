package contract

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// Timeout is how long a contract waits for what must happen.
const Timeout = 20 * time.Second

// DeviceCase is a data plane to test.
type DeviceCase struct {
	Device    agent.Device    // without peers
	Address   netip.Prefix    // of this node
	Answering mesh.PeerConfig // a peer that answers, at its endpoint and its first address
}

// Device tests a data plane.
func Device(t *testing.T, open func(t *testing.T) DeviceCase) {
	start := func(t *testing.T) (agent.Device, mesh.PeerConfig) {
		t.Helper()
		c := open(t)
		dev, answering := c.Device, c.Answering
		t.Cleanup(func() {
			if err := dev.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
		if err := dev.Configure(mesh.DefaultMTU, []netip.Prefix{c.Address}); err != nil {
			t.Fatalf("Configure = %v", err)
		}
		return dev, answering
	}

	t.Run("Apply makes the peers exactly those given", func(t *testing.T) {
		dev, _ := start(t)
		a, b := silentPeer(1), silentPeer(2)
		for _, want := range [][]mesh.PeerConfig{{a, b}, {a, b}, {b}, nil, {a}} {
			apply(t, dev, want...)
			wantPeers(t, dev, want...)
		}
	})

	t.Run("a peer without an endpoint keeps the one it has", func(t *testing.T) {
		dev, _ := start(t)
		a := silentPeer(1)
		apply(t, dev, a)
		without := a
		without.Endpoint = netip.AddrPort{}
		apply(t, dev, without)
		wantPeers(t, dev, a)
	})

	t.Run("a handshake is signalled, counted and makes the peer answer", func(t *testing.T) {
		dev, answering := start(t)
		target := answering.AllowedIPs[0].Addr()
		if _, err := ping(t, dev, target, 100*time.Millisecond); err == nil {
			t.Error("an address of no peer answers a ping")
		}
		apply(t, dev, answering)
		deadline := time.After(Timeout)
		for !handshaken(t, dev, answering.PublicKey) {
			select {
			case <-dev.Events():
			case <-deadline:
				t.Fatal("no event tells of a handshake")
			}
		}
		if rtt, err := ping(t, dev, target, Timeout); err != nil || rtt <= 0 {
			t.Errorf("Ping = %v, %v", rtt, err)
		}
		apply(t, dev, answering)
		if !handshaken(t, dev, answering.PublicKey) {
			t.Error("applying the same peer again ended its session")
		}
	})

	t.Run("the listen port changes, and 0 keeps it", func(t *testing.T) {
		dev, _ := start(t)
		before := dev.ListenPort()
		if before == 0 {
			t.Fatal("a device listens on no port")
		}
		if err := dev.SetListenPort(0); err != nil || dev.ListenPort() != before {
			t.Errorf("SetListenPort(0) = %v, the port went from %d to %d", err, before, dev.ListenPort())
		}
		next := before ^ 1
		if err := dev.SetListenPort(next); err != nil || dev.ListenPort() != next {
			t.Errorf("SetListenPort(%d) = %v, the port is %d", next, err, dev.ListenPort())
		}
	})

	t.Run("another key leaves the peers, not their sessions", func(t *testing.T) {
		dev, answering := start(t)
		a := silentPeer(1)
		apply(t, dev, answering, a)
		if err := dev.SetPrivateKey(mesh.NewPrivateKey([32]byte{0xf8})); err != nil {
			t.Errorf("SetPrivateKey = %v", err)
		}
		apply(t, dev, answering, a)
		if stats, err := dev.Stats(); err != nil || len(stats) != 2 {
			t.Errorf("Stats = %v, %v", stats, err)
		}
	})

	t.Run("a device that runs is not done, and nothing is fragmented or dropped", func(t *testing.T) {
		dev, _ := start(t)
		select {
		case <-dev.Done():
			t.Error("Done is closed")
		default:
		}
		if hosts := dev.Fragmented(); len(hosts) != 0 {
			t.Errorf("Fragmented = %v", hosts)
		}
		if n := dev.DroppedInitiations(); n != 0 {
			t.Errorf("DroppedInitiations = %d", n)
		}
		if n := dev.Returned(); n != 0 {
			t.Errorf("Returned = %d", n)
		}
	})
}

// ping ends with its context.
func ping(t *testing.T, dev agent.Device, to netip.Addr, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return dev.Ping(ctx, to, 56)
}

// silentPeer is a peer at an endpoint at which nothing answers.
func silentPeer(n byte) mesh.PeerConfig {
	private := mesh.NewPrivateKey([32]byte{n << 3}) // WireGuard clears the lowest bits
	return mesh.PeerConfig{
		PublicKey: private.Public(), Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, n}), 9),
		AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 15: n}), 128)},
	}
}

func apply(t *testing.T, dev agent.Device, peers ...mesh.PeerConfig) {
	t.Helper()
	if err := dev.Apply(peers); err != nil {
		t.Fatalf("Apply = %v", err)
	}
}

func wantPeers(t *testing.T, dev agent.Device, want ...mesh.PeerConfig) {
	t.Helper()
	stats, err := dev.Stats()
	if err != nil {
		t.Fatalf("Stats = %v", err)
	}
	if len(stats) != len(want) {
		t.Errorf("%d peers, want %d", len(stats), len(want))
	}
	for _, p := range want {
		i := slices.IndexFunc(stats, func(s mesh.PeerStats) bool { return s.PublicKey == p.PublicKey })
		if i < 0 {
			t.Errorf("peer %s is missing", p.PublicKey)
		} else if stats[i].Endpoint != p.Endpoint {
			t.Errorf("peer %s has endpoint %v, want %v", p.PublicKey, stats[i].Endpoint, p.Endpoint)
		}
	}
}

func handshaken(t *testing.T, dev agent.Device, key mesh.Key) bool {
	t.Helper()
	stats, err := dev.Stats()
	if err != nil {
		t.Fatalf("Stats = %v", err)
	}
	return slices.ContainsFunc(stats, func(s mesh.PeerStats) bool { return s.PublicKey == key && !s.LastHandshakeTime.IsZero() })
}
