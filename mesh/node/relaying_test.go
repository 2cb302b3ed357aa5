//go:build !edge

package node

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// A box that starts in 1970 makes credentials by the relay's clock, or by the time that the
// program was built: nobody makes it sign for an earlier one.
func TestRelayTime(t *testing.T) {
	built := time.Unix(1_790_000_000, 0)
	s := relaySecrets{node: &Node{cfg: Config{Built: built}}}
	for name, tt := range map[string]struct{ server, now, want time.Time }{
		"the relay tells":        {built.Add(time.Hour), time.Unix(0, 0), built.Add(time.Hour)},
		"it does not":            {time.Time{}, built.Add(time.Minute), built.Add(time.Minute)},
		"nobody knows":           {time.Time{}, time.Unix(0, 0), built},
		"before the build":       {built.Add(-time.Second), built.Add(time.Minute), built.Add(time.Minute)},
		"both before the build":  {time.Unix(5, 0), time.Unix(0, 0), built},
		"the clock is far ahead": {built.Add(time.Hour), built.Add(1 << 62), built.Add(time.Hour)},
	} {
		if got := s.relayTime(tt.server, tt.now); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// A relay is at public addresses of its host, and at those that the settings name; not at a NAT's.
func TestRelayReachedAt(t *testing.T) {
	r := new(relaying)
	r.own.Store(&map[netip.Addr]struct{}{})
	r.observe([]mesh.Link{{Addresses: []netip.Prefix{
		netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("192.168.0.1/24"), netip.MustParsePrefix("100.64.0.1/10"),
	}}})
	c := new(config.Config)
	c.RelayNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	c.KubeSpan.ExtraAnnouncedEndpoints = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:51820")}
	for a, want := range map[string]bool{
		"198.51.100.1": true, "10.0.0.1": true, "203.0.113.1": true,
		"192.168.0.1": false, "100.64.0.1": false, "198.51.100.2": false, "10.0.0.2": false,
	} {
		if got := r.reachedAt(netip.MustParseAddr(a), c); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}

// During a change of the secret, both are taken, and members use the former one.
func TestRelayKeys(t *testing.T) {
	n := nodeOfMember("node")
	c := &state.Cluster{ID: "cluster", Secret: mesh.NewSecret([mesh.KeySize]byte{1}), Next: mesh.NewSecret([mesh.KeySize]byte{2}), NextNumber: 2}
	n.membership.enterCluster(c)
	keys := n.relaySecrets.keys()
	if len(keys) != 2 || keys[0] != relay.NewKey("cluster", c.Secret) || keys[1] != relay.NewKey("cluster", c.Next) {
		t.Fatalf("%d keys", len(keys))
	}
	now := time.Now()
	relayID := memberKey("relay").NodeID()
	got := n.relaySecrets.credentials(mesh.Relay{NodeID: relayID}, now)
	shared := must(n.keys.NodeKey.Shared(relayID))
	if want := bond(keys, shared)[0].Credentials(n.keys.NodeID, now); got != want {
		t.Errorf("%v, want %v", got, want)
	}

	var ring keyring
	if got := ring.take(keys, now); !slices.Equal(got, keys) {
		t.Errorf("%d keys during the change", len(got))
	}
	for after, want := range map[time.Duration]int{0: 2, formerKeyTime - 1: 2, formerKeyTime: 1} {
		ring := afterChange(keys, now)
		if got := ring.take(keys[1:], now.Add(after)); len(got) != want || got[0] != keys[1] {
			t.Errorf("%v after the change there are %d keys", after, len(got))
		}
	}
}

// afterChange returns a keyring that has seen a change end.
func afterChange(keys []relay.Key, now time.Time) *keyring {
	ring := new(keyring)
	ring.take(keys, now)
	ring.take(keys[1:], now)
	return ring
}

func TestRelayForeignCredentials(t *testing.T) {
	path := t.TempDir() + "/password"
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &Node{}
	n.relaySecrets.node = n
	c := new(config.Config)
	c.RelayUser, c.RelayPasswordFile = "user", path
	n.relaySecrets.set(c)
	if err := CheckRelayPassword(c); err != nil {
		t.Error(err)
	}
	wrong := new(config.Config)
	wrong.RelayPasswordFile = path + "0"
	if err := CheckRelayPassword(wrong); err == nil || !strings.HasPrefix(err.Error(), "relayPasswordFile: ") {
		t.Error(err)
	}
	if got := n.relaySecrets.credentials(mesh.Relay{Name: "turn:192.0.2.1"}, time.Time{}); got.Username != "user" || got.Password.Reveal() != "secret" {
		t.Errorf("%+v", got)
	}
}

// Metrics have a bounded number of labels, and lose nothing.
func TestRelayMetricsAreBounded(t *testing.T) {
	var list []mesh.RelayUsage
	for i := range maxRelayLabels + 50 {
		list = append(list, mesh.RelayUsage{
			Member: fmt.Sprint(i), SentBytes: uint64(i), Packets: 1, Relayed: []netip.AddrPort{{}},
		})
	}
	got, packets, addresses := labelled(list), uint64(0), 0
	for _, u := range got {
		packets += u.Packets
		addresses += len(u.Relayed)
	}
	if len(got) != maxRelayLabels+1 || got[0].Member != "149" || got[maxRelayLabels].Member != relayedOthers || packets != 150 || addresses != 150 {
		t.Errorf("%d labels, first %v, last %v, %d packets, %d addresses", len(got), got[0], got[maxRelayLabels], packets, addresses)
	}
}

// What others send to the port is not the relay's: strangers make it remember nothing.
func FuzzTURNSocket(f *testing.F) {
	request := turn.Begin(nil, turn.Allocate, turn.Request, turn.ID{1})
	binding := turn.Begin(nil, turn.Binding, turn.Request, turn.ID{1})
	f.Add(request.Finish())
	f.Add(binding.Finish())
	f.Add([]byte{0x40, 0, 0, 1, 5, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0})
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	from := netip.MustParseAddrPort("192.0.2.1:5")
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newTURNSocket(&stunListener{conn: burst.New(conn)})
		s.put(b, []byte("control"), from)
		if want := turn.ForServer(b) && len(b) <= turn.MaxMessage; (s.Len() == 1) != want || (len(s.back) == 1) != want {
			t.Errorf("%x: %d queued, %d remembered", b, s.Len(), len(s.back))
		}
		if s.Len() == 1 {
			got := make([]byte, len(b))
			if n, at, err := s.ReadFromUDPAddrPort(got); n != len(b) || at != from || err != nil || string(got) != string(b) {
				t.Errorf("%x became %x from %v, %v", b, got, at, err)
			}
		}
		_ = s.Close()
		if _, _, err := s.ReadFromUDPAddrPort(b); err == nil || s.l.turn.Load() != nil {
			t.Error("a closed socket is read")
		}
	})
}
