package device_test

import (
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
)

// mustKeepAlive waits until the device has the interval want for a peer.
func (n *node) mustKeepAlive(t *testing.T, other mesh.Key, want string) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(wait); ; <-poll.C {
		got := dump(t, n.Device)[other].keepalive
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("keepalive = %s, want %s", got, want)
		}
	}
}

// initiationDue checks all peers as if it were now, and reports whether a handshake
// with other is due.
func (n *node) initiationDue(t *testing.T, other mesh.Key, now time.Time) bool {
	t.Helper()
	due, _, err := n.CheckKeepalives(now)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(due, other)
}

func TestKeepaliveComesAndGoesWithTheSession(t *testing.T) {
	a, b := pair(t)
	key := b.key.Public()
	mustPing(t, a, b.addr)
	a.mustKeepAlive(t, key, "25")
	b.mustKeepAlive(t, a.key.Public(), "25")

	s, _ := a.stats(t, key)
	fresh := s.LastHandshakeTime.Add(time.Minute)
	if a.initiationDue(t, key, fresh) {
		t.Error("a handshake is due though there is a session")
	}
	a.mustKeepAlive(t, key, "25")
	hex := string(hexOf(key[:]))
	uapi(t, a.Device, "set=1\npublic_key="+hex+"\npersistent_keepalive_interval=7\n\n")
	a.initiationDue(t, key, fresh)
	a.mustKeepAlive(t, key, "25")

	late := s.LastHandshakeTime.Add(wireguard.RejectAfterTime - 10*time.Second)
	a.initiationDue(t, key, late)
	a.mustKeepAlive(t, key, "0")
	uapi(t, a.Device, "set=1\npublic_key="+hex+"\npersistent_keepalive_interval=7\n\n")
	a.initiationDue(t, key, late)
	a.mustKeepAlive(t, key, "0")
	a.apply(t, b.peer()) // Apply takes the real time: there is a session after all
	a.mustKeepAlive(t, key, "25")
	a.initiationDue(t, key, s.LastHandshakeTime.Add(-time.Hour)) // the clock was set back
	a.mustKeepAlive(t, key, "0")
}

func TestHandshakesAreStartedAfterSilence(t *testing.T) {
	a := newNode(t, 1)
	start := time.Now().Add(time.Hour) // later than all that the device does by itself
	p := mesh.PeerConfig{PublicKey: newKey().Public(), PersistentKeepalive: mesh.PersistentKeepalive}
	a.apply(t, p)
	if a.initiationDue(t, p.PublicKey, start) {
		t.Error("due without an endpoint")
	}
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p.Endpoint = silent.LocalAddr().(*net.UDPAddr).AddrPort()
	a.apply(t, p)
	expectInitiations(t, silent, 1)
	a.initiationDue(t, p.PublicKey, start) // records what was sent
	for _, tc := range []struct {
		after time.Duration
		want  bool
	}{{14 * time.Second, false}, {15 * time.Second, true}, {16 * time.Second, false}, {30 * time.Second, true}} {
		if got := a.initiationDue(t, p.PublicKey, start.Add(tc.after)); got != tc.want {
			t.Errorf("after %v: due = %v", tc.after, got)
		}
	}
	a.apply(t)
	a.apply(t, p) // it was created anew
	expectInitiations(t, silent, 1)
	p.PersistentKeepalive = 0
	a.apply(t, p)
	if a.initiationDue(t, p.PublicKey, start.Add(time.Hour)) {
		t.Error("due without a keepalive")
	}
}

// A peer that is down takes memory for its queues but for no packet buffer, and
// handshakes with it are started.
func TestPeersThatAreDownAreCheap(t *testing.T) {
	const peers, each = 256, 48 << 10
	a := newNode(t, 1)
	silent, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	port := silent.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	configs := make([]mesh.PeerConfig, peers)
	for i := range configs {
		configs[i] = mesh.PeerConfig{
			PublicKey: newKey().Public(), AllowedIPs: []netip.Prefix{host(ula(10 + i))},
			Endpoint:            netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), port),
			PersistentKeepalive: mesh.PersistentKeepalive,
		}
	}
	before := live()
	a.apply(t, configs...)
	expectInitiations(t, silent, peers)
	if used := live() - before; used > peers*each {
		t.Errorf("%d KiB for each peer", used/peers>>10)
	}
}

// expectInitiations waits for n handshake initiations.
func expectInitiations(t *testing.T, c net.PacketConn, n int) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 2048); n > 0; {
		size, _, err := c.ReadFrom(b)
		if err != nil {
			t.Fatalf("%d initiations are missing: %v", n, err)
		}
		if size == wireguard.MessageInitiationSize && b[0] == wireguard.MessageInitiationType {
			n--
		}
	}
}

// live returns the size of the live heap.
func live() int64 {
	runtime.GC()
	runtime.GC() // pools drop their buffers in the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
