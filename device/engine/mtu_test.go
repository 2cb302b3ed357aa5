package engine

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device/clamp"
	"github.com/wirespan/wirespan/device/inflight"
	"github.com/wirespan/wirespan/mesh"
)

// narrowLine is a device and its sockets in one: it answers what fits at once.
type narrowLine struct {
	Device
	conn.Bind
	send   func(bufs [][]byte, ep conn.Endpoint) error // of the engine's bind
	to     conn.Endpoint
	parted []int // sizes of the batches that were sent as usual

	mu     sync.Mutex // guards what follows
	width  int        // size of the largest datagram
	whole  int        // datagrams that nobody may fragment
	arrive bool       // the last one did
	table  *clamp.Table
}

func (l *narrowLine) Send(bufs [][]byte, _ conn.Endpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parted = append(l.parted, len(bufs))
	return nil
}

func (l *narrowLine) SendWhole(buf []byte, _ conn.Endpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole++
	l.arrive = len(buf) <= l.width
	if !l.arrive {
		return syscall.EMSGSIZE
	}
	return nil
}

func (l *narrowLine) MTU() int                                        { return 1420 }
func (l *narrowLine) Echo(_ netip.Addr, done func(rtt time.Duration)) { go done(time.Millisecond) }
func (l *narrowLine) Keepalive(mesh.Key)                              {}
func (l *narrowLine) Initiate(mesh.Key, bool, func() bool)            {}

func (l *narrowLine) Limit(t *clamp.Table) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table = t
}

func (l *narrowLine) limited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.table != nil
}

func (l *narrowLine) Probe(_ netip.Addr, size int, done func(rtt time.Duration)) {
	probe := sealed(size)
	inflight.Probe.Put(probe, size)
	_ = l.send([][]byte{sealed(100), probe, sealed(200)}, l.to)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.arrive {
		go done(time.Millisecond)
	}
}

const theirIndex = 77

// sealed returns a message with a packet of a size.
func sealed(size int) []byte {
	b := make([]byte, size+wireguard.MessageTransportSize, 4096)
	b[0] = wireguard.MessageTransportType
	binary.LittleEndian.PutUint32(b[4:], theirIndex)
	return b
}

// The engine has the device send probes, keeps those whole and nothing else, and tells the
// device the limit as long as there is one.
func TestMTU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &narrowLine{width: 1500, to: placeAt("192.0.2.1:1")}
		e, bind := New(mesh.Key{1}, line, hclog.NewNullLogger(), func() {})
		line.send = bind.Send
		e.Attach(line)
		peer := mesh.PeerConfig{
			PublicKey: mesh.Key{2}, Race: true, Address: netip.MustParseAddr("fd00::2"),
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("fd00::2/128")},
		}
		e.SetPeers([]mesh.PeerConfig{peer})
		e.Handshake(peer.PublicKey, time.Now(), addressOf(line.to))
		e.indexes.addTheirs(theirIndex, e.peers[peer.PublicKey])
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go e.Run(ctx)
		mtu := func() int { return e.Path(peer.PublicKey).MTU }
		time.Sleep(time.Minute)
		if mtu() != 1420 || line.limited() || line.whole != 1 {
			t.Fatalf("a wide path: MTU %d after %d probes, limited: %v", mtu(), line.whole, line.limited())
		}
		line.mu.Lock()
		line.width = 1280
		line.mu.Unlock()
		_ = bind.Send([][]byte{sealed(1400)}, line.to)
		time.Sleep(3 * time.Second)
		if !line.limited() {
			t.Error("a path that became narrow: no limit after 3 s")
		}
		time.Sleep(3 * time.Second)
		if mtu() != 1248 {
			t.Errorf("MTU %d, want 1248", mtu())
		}
		for _, n := range line.parted {
			if n != 1 {
				t.Fatalf("batches of %v: a probe was sent with other packets", line.parted)
			}
		}
		if want := 2*line.whole + 1; len(line.parted) != want {
			t.Errorf("%d batches beside %d probes", len(line.parted), line.whole)
		}
		e.SetPeers(nil)
		if line.limited() {
			t.Error("a limit without a peer")
		}
		e.SetPeers([]mesh.PeerConfig{peer})
		if mtu() != 0 || line.limited() {
			t.Error("a new peer has the limit of an old one")
		}
	})
}

// Answers to probes of the peer are sent as usual, and are no data: they lead to no probe,
// and to no test of the path.
func TestAnswersToProbesAreNoData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &narrowLine{width: 1500, to: placeAt("192.0.2.1:1")}
		e, bind := New(mesh.Key{1}, line, hclog.NewNullLogger(), func() {})
		line.send = bind.Send
		e.Attach(line)
		peer := mesh.PeerConfig{PublicKey: mesh.Key{2}, Race: true, Address: netip.MustParseAddr("fd00::2")}
		e.SetPeers([]mesh.PeerConfig{peer})
		e.Handshake(peer.PublicKey, time.Now(), addressOf(line.to))
		p := e.peers[peer.PublicKey]
		e.indexes.addTheirs(theirIndex, p)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go e.Run(ctx)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		probes, batches := line.whole, len(line.parted)
		p.unanswered.Store(0) // the answers of the line are none of the peer
		for range 5 {
			e.Probed(peer.Address)
			answer := sealed(1420)
			inflight.Answer.Put(answer, 1420)
			_ = bind.Send([][]byte{answer}, line.to)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if line.whole != probes || len(line.parted) != batches+5 || p.unanswered.Load() != 0 {
			t.Errorf("%d probes and %d batches after 5 answers, data without an answer: %v",
				line.whole-probes, len(line.parted)-batches, p.unanswered.Load() != 0)
		}
	})
}

// Sockets that can't keep datagrams whole are asked for no probe.
func TestNoMTU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := New(mesh.Key{1}, &brokenBind{}, hclog.NewNullLogger(), func() {})
		line := &narrowLine{}
		e.Attach(line)
		e.SetPeers([]mesh.PeerConfig{{PublicKey: mesh.Key{2}, Race: true, Address: netip.MustParseAddr("fd00::2")}})
		e.Handshake(mesh.Key{2}, time.Now(), netip.MustParseAddrPort("192.0.2.1:1"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go e.Run(ctx)
		time.Sleep(10 * time.Second) // a probe would panic
		if p := e.Path(mesh.Key{2}); p.MTU != 0 {
			t.Errorf("MTU %d", p.MTU)
		}
	})
}

// Large data costs the data path nothing until the next probe is due.
func TestMTUAllocs(t *testing.T) {
	e, bind := New(mesh.Key{1}, &brokenBind{}, hclog.NewNullLogger(), func() {})
	e.SetPeers([]mesh.PeerConfig{{PublicKey: mesh.Key{2}, Race: true}})
	e.indexes.addTheirs(theirIndex, e.peers[mesh.Key{2}])
	bufs, to := [][]byte{sealed(1400), sealed(1400)}, placeAt(live.String())
	for _, probing := range []bool{false, true} {
		e.peers[mesh.Key{2}].marked.Store(probing)
		if n := testing.AllocsPerRun(100, func() { _ = bind.Send(bufs, to) }); n != 0 {
			t.Errorf("%v allocations, while probes are sent: %v", n, probing)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	for name, probing := range map[string]bool{"plain": false, "probing": true} {
		b.Run(name, func(b *testing.B) {
			e, bind := New(mesh.Key{1}, &brokenBind{}, hclog.NewNullLogger(), func() {})
			e.SetPeers([]mesh.PeerConfig{{PublicKey: mesh.Key{2}, Race: true}})
			e.indexes.addTheirs(theirIndex, e.peers[mesh.Key{2}])
			e.peers[mesh.Key{2}].marked.Store(probing)
			bufs, to := [][]byte{}, placeAt(live.String())
			for range 128 {
				bufs = append(bufs, sealed(1400))
			}
			b.ReportAllocs()
			for b.Loop() {
				_ = bind.Send(bufs, to)
			}
		})
	}
}
