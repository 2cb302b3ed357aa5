package device_test

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh"
)

// wait bounds what should take milliseconds. No test that passes waits that long.
const wait = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is one end of a tunnel: a device over loopback UDP with a netstack.
type node struct {
	*device.Device
	net  *netstack.Netstack
	key  mesh.PrivateKey
	addr netip.Addr
}

func newKey() mesh.PrivateKey {
	var b [mesh.KeySize]byte
	_, _ = rand.Read(b[:])
	return mesh.NewPrivateKey(b)
}

func ula(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:0:0:2::%x", i))
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func newNode(t testing.TB, i int, v4 ...netip.Addr) *node {
	t.Helper()
	n := &node{key: newKey(), addr: ula(i)}
	var err error
	n.net, err = netstack.New(netstack.Config{Addresses: append(v4, n.addr), MTU: mesh.DefaultMTU})
	if err != nil {
		t.Fatal(err)
	}
	n.Device, err = device.Open(device.Config{
		TUN: n.net, Bind: bind.New(nil), PrivateKey: n.key, FirewallMark: mesh.FirewallMark,
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

// endpoint returns the address and port at which the node listens.
func (n *node) endpoint() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), n.ListenPort())
}

// peer returns the configuration of n as a peer of other nodes.
func (n *node) peer() mesh.PeerConfig {
	return mesh.PeerConfig{
		PublicKey: n.key.Public(), AllowedIPs: []netip.Prefix{host(n.addr)}, Endpoint: n.endpoint(),
		PersistentKeepalive: mesh.PersistentKeepalive,
	}
}

// apply fails the test on an error.
func (n *node) apply(t testing.TB, peers ...mesh.PeerConfig) {
	t.Helper()
	if err := n.Apply(peers); err != nil {
		t.Fatal(err)
	}
}

// stats returns the statistics that n has of other, and whether other is a peer.
func (n *node) stats(t testing.TB, other mesh.Key) (mesh.PeerStats, bool) {
	t.Helper()
	all, err := n.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.PublicKey == other {
			return s, true
		}
	}
	return mesh.PeerStats{}, false
}

// pair returns two nodes that are each other's peers. a starts the handshake.
func pair(t testing.TB) (a, b *node) {
	t.Helper()
	a, b = newNode(t, 1), newNode(t, 2)
	fromA := a.peer()
	fromA.Endpoint = netip.AddrPort{}
	b.apply(t, fromA)
	a.apply(t, b.peer())
	return a, b
}
