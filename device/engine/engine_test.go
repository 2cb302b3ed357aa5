package engine

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device/clamp"
	"github.com/wirespan/wirespan/mesh"
)

// sockets notes what is sent.
type sockets struct {
	conn.Bind
	mu     sync.Mutex
	sent   []datagram
	refuse map[string]error // by address
}

type datagram struct {
	to   string
	size int
	at   time.Time
}

func (s *sockets) Send(bufs [][]byte, ep conn.Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := ep.DstToString()
	if err := s.refuse[to]; err != nil {
		return err
	}
	for _, b := range bufs {
		s.sent = append(s.sent, datagram{to, len(b), time.Now()})
	}
	return nil
}

func (s *sockets) ParseEndpoint(text string) (conn.Endpoint, error) { return placeAt(text), nil }

// refuses makes sends to an address fail from now on.
func (s *sockets) refuses(to netip.AddrPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse[to.String()] = err
}

func (s *sockets) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// initiationsTo returns how many initiations were sent to each address.
func (s *sockets) initiationsTo() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for _, d := range s.sent {
		if d.size == wireguard.MessageInitiationSize {
			out[d.to]++
		}
	}
	return out
}

// wgDevice makes an initiation when it is asked for one.
type wgDevice struct {
	bind   *Bind
	index  atomic.Uint32
	echoes atomic.Int32 // echo requests
	alive  atomic.Int32 // keepalives
}

func (d *wgDevice) Initiate(key mesh.Key, _ bool, wanted func() bool) {
	if !wanted() {
		return
	}
	msg := handshake(key, wireguard.MessageInitiationType, wireguard.MessageInitiationSize, d.index.Add(1), 0)
	_ = d.bind.Send([][]byte{msg}, placeAt("192.0.2.1:1"))
}
func (d *wgDevice) Keepalive(mesh.Key)                         { d.alive.Add(1) }
func (d *wgDevice) Rest(mesh.Key)                              {}
func (d *wgDevice) Echo(netip.Addr, func(time.Duration))       { d.echoes.Add(1) }
func (d *wgDevice) Probe(netip.Addr, int, func(time.Duration)) {}
func (d *wgDevice) MTU() int                                   { return mesh.DefaultMTU }
func (d *wgDevice) Limit(*clamp.Table)                         {}

// handshake returns a message to the owner of a key, with a valid first MAC.
func handshake(to mesh.Key, kind, size int, sender, receiver uint32) []byte {
	msg := make([]byte, size)
	msg[0] = byte(kind)
	binary.LittleEndian.PutUint32(msg[4:], sender)
	if kind == wireguard.MessageResponseType {
		binary.LittleEndian.PutUint32(msg[8:], receiver)
	}
	var g wireguard.CookieGenerator
	g.Init(wireguard.NoisePublicKey(to))
	g.AddMacs(msg)
	return msg
}

// world is an engine between a device and sockets.
type world struct {
	*Engine
	bind    *Bind
	sockets *sockets
	device  *wgDevice
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := &sockets{refuse: map[string]error{}}
	e, b := New(mesh.Key{}, s, hclog.NewNullLogger(), func() {}) // the smallest key
	d := &wgDevice{bind: b}
	e.Attach(d)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Run(t.Context())
	}()
	t.Cleanup(func() { <-done })
	return &world{e, b, s, d}
}

var (
	peerKey = mesh.Key{1}
	live    = netip.MustParseAddrPort("192.0.2.1:1")
	dead    = netip.MustParseAddrPort("192.0.2.2:1")
)

func racing(key mesh.Key, candidates ...netip.AddrPort) mesh.PeerConfig {
	p := mesh.PeerConfig{PublicKey: key, Race: true}
	for _, c := range candidates {
		p.Candidates = append(p.Candidates, mesh.Candidate{Endpoint: c})
	}
	return p
}

func TestIsFor(t *testing.T) {
	for _, kind := range [][2]int{
		{wireguard.MessageInitiationType, wireguard.MessageInitiationSize},
		{wireguard.MessageResponseType, wireguard.MessageResponseSize},
	} {
		msg := handshake(peerKey, kind[0], kind[1], 1, 2)
		right, wrong := macKey(peerKey), macKey(mesh.Key{2})
		if !isFor(msg, &right) || isFor(msg, &wrong) {
			t.Errorf("type %d is for the wrong peer", kind[0])
		}
	}
}

// A new peer is raced: each candidate gets the same initiation.
func TestRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetPeers([]mesh.PeerConfig{racing(peerKey, dead, live)})
		time.Sleep(100 * time.Millisecond)
		if got := w.sockets.initiationsTo(); got[dead.String()] != 1 || got[live.String()] != 1 {
			t.Errorf("initiations %v", got)
		}
	})
}

// Once the device has a session, no more copies leave, and the path is known.
func TestSessionEndsTheRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetPeers([]mesh.PeerConfig{racing(peerKey, dead, live)})
		time.Sleep(100 * time.Millisecond)
		response := handshake(mesh.Key{}, wireguard.MessageResponseType, wireguard.MessageResponseSize, 77, w.device.index.Load())
		w.received([][]byte{response}, []int{len(response)}, []conn.Endpoint{placeAt(live.String())})
		w.Handshake(peerKey, time.Now(), live)
		before := w.sockets.count()
		time.Sleep(5 * time.Second)
		if n := w.sockets.count(); n != before {
			t.Errorf("%d more datagrams", n-before)
		}
		s := w.Path(peerKey)
		if s == nil || !s.Settled || s.Candidates[0].Endpoint != live || s.RTT != 90*time.Millisecond {
			t.Errorf("path %+v", s)
		}
		if s != w.Path(peerKey) {
			t.Error("made anew though nothing has changed")
		}
		if w.indexes.theirs(77) == nil {
			t.Error("the peer's index is not known")
		}
	})
}

// When this host has changed, the paths to all peers are tested at once: an echo request that
// waits for those of many others would count as lost.
func TestManyPeersAreTestedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		peers := make([]mesh.PeerConfig, 100)
		for i := range peers {
			key := mesh.Key{1, byte(i)}
			peers[i] = racing(key, live)
			peers[i].Address = netip.MustParseAddr("fd00::2")
		}
		w.SetPeers(peers)
		for _, p := range peers {
			w.Handshake(p.PublicKey, time.Now(), live)
		}
		synctest.Wait()
		w.Changed()
		synctest.Wait()
		if n := int(w.device.echoes.Load()); n != len(peers) {
			t.Errorf("%d peers of %d are tested", n, len(peers))
		}
	})
}

// A path is tested when data has gone out for a while and nothing has come back, and at once
// when this host refuses to send on it.
func TestDataTellsOfThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := racing(peerKey, live)
		p.Address = netip.MustParseAddr("fd00::2")
		w.SetPeers([]mesh.PeerConfig{p})
		synctest.Wait()
		response := handshake(mesh.Key{}, wireguard.MessageResponseType, wireguard.MessageResponseSize, 77, w.device.index.Load())
		eps := []conn.Endpoint{placeAt(live.String())}
		w.received([][]byte{response}, []int{len(response)}, eps)
		w.Handshake(peerKey, time.Now(), live)
		_ = w.bind.Send([][]byte{packet(77)}, eps[0])
		time.Sleep(time.Second)
		w.received([][]byte{packet(w.device.index.Load())}, []int{1452}, eps)
		time.Sleep(time.Second)
		if n := w.device.echoes.Load(); n != 0 {
			t.Errorf("%d echo requests although data was answered", n)
		}
		_ = w.bind.Send([][]byte{packet(77)}, eps[0])
		time.Sleep(1600 * time.Millisecond)
		if w.device.echoes.Load() == 0 {
			t.Error("no echo request although data was not answered")
		}
		w.received([][]byte{packet(w.device.index.Load())}, []int{1452}, eps)
		time.Sleep(time.Second)
		before := w.device.index.Load()
		w.sockets.refuses(live, syscall.EPERM)
		_ = w.bind.Send([][]byte{packet(77)}, eps[0])
		synctest.Wait()
		if w.device.index.Load() == before {
			t.Error("no handshake although data was refused")
		}
	})
}

// The host refuses to send to one candidate: its result says so. If it refuses all, the
// device learns the error.
func TestRefusedCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sockets.refuses(dead, syscall.ENETUNREACH)
		w.SetPeers([]mesh.PeerConfig{racing(peerKey, dead, live)})
		time.Sleep(100 * time.Millisecond)
		s := w.Path(peerKey)
		i := slices.IndexFunc(s.Candidates, func(c mesh.Tried) bool { return c.Endpoint == dead })
		if c := s.Candidates[i]; c.Result != "refused" || c.Why != syscall.ENETUNREACH.Error() {
			t.Errorf("candidate %+v", c)
		}
		w.sockets.refuses(live, syscall.EPERM)
		time.Sleep(time.Second)
		msg := handshake(peerKey, wireguard.MessageInitiationType, wireguard.MessageInitiationSize, 9, 0)
		if err := w.bind.Send([][]byte{msg}, placeAt(live.String())); !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("send: %v", err)
		}
	})
}

// Of the cookie replies to one initiation the device gets the first. Those to peers that are
// not the engine's it gets all.
func TestCookieReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetPeers([]mesh.PeerConfig{racing(peerKey, dead, live)})
		time.Sleep(100 * time.Millisecond)
		reply := func(index uint32) (passed bool) {
			msg := make([]byte, wireguard.MessageCookieReplySize)
			msg[0] = wireguard.MessageCookieReplyType
			binary.LittleEndian.PutUint32(msg[4:], index)
			sizes := []int{len(msg)}
			w.received([][]byte{msg}, sizes, []conn.Endpoint{placeAt(live.String())})
			return sizes[0] > 0
		}
		index := w.device.index.Load()
		for range 2 {
			if !reply(index + 1000) {
				t.Error("a reply to another peer is dropped")
			}
		}
		if !reply(index) || reply(index) {
			t.Error("not exactly the first reply passes")
		}
		before := w.sockets.initiationsTo()
		time.Sleep(500 * time.Millisecond)
		after := w.sockets.initiationsTo()
		if after[live.String()] == before[live.String()] || after[dead.String()] != before[dead.String()] {
			t.Errorf("initiations %v, before the cookie %v: want one more where it came from, alone", after, before)
		}
	})
}

// A peer that the caller directs gets its handshakes where the caller says, within the
// budget for addresses that do not answer.
func TestDirectedPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetPeers([]mesh.PeerConfig{{PublicKey: peerKey}})
		for range 1000 {
			w.device.Initiate(peerKey, false, func() bool { return true })
		}
		time.Sleep(time.Minute)
		if n := w.sockets.initiationsTo()[live.String()]; n == 0 || n > 100 {
			t.Errorf("%d initiations", n)
		}
		if w.Dropped() == 0 {
			t.Error("none was dropped")
		}
	})
}

// When this host has changed, a peer that the caller directs hears of it at once, if there is
// a session.
func TestDirectedPeerHearsOfMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetPeers([]mesh.PeerConfig{{PublicKey: peerKey}, {PublicKey: mesh.Key{2}}})
		w.Handshake(peerKey, time.Now(), live)
		w.Changed()
		synctest.Wait()
		if n := w.device.alive.Load(); n != 1 {
			t.Errorf("%d keepalives, want one to the peer with a session", n)
		}
		time.Sleep(wireguard.RejectAfterTime)
		w.Changed()
		synctest.Wait()
		if n := w.device.alive.Load(); n != 1 {
			t.Errorf("%d keepalives after the session has ended", n)
		}
	})
}

// Indexes of peers that are gone, and old ones, are forgotten.
func TestIndexesAreBounded(t *testing.T) {
	x := newIndexes()
	p := &peer{}
	for i := range uint32(1000) {
		x.addOurs(i+1, p)
		x.addTheirs(i+1, p)
	}
	if len(x.local) != maxIndexes || len(x.remote) != maxIndexes || x.ours(1000) != p || x.theirs(1) != nil {
		t.Errorf("%d and %d indexes", len(x.local), len(x.remote))
	}
	x.remove(p)
	if len(x.local)+len(x.remote) != 0 {
		t.Error("indexes of a peer that is gone")
	}
}

// A packet costs no allocation, either way.
func TestPacketsAllocateNothing(t *testing.T) {
	e, b := New(mesh.Key{}, &brokenBind{}, hclog.NewNullLogger(), func() {})
	e.SetPeers([]mesh.PeerConfig{{PublicKey: peerKey}})
	p := e.peers[peerKey]
	e.indexes.addOurs(1, p)
	e.indexes.addTheirs(2, p)
	var ep conn.Endpoint = placeAt(live.String())
	sent, bufs := [][]byte{packet(2)}, [][]byte{packet(1)}
	sizes, eps := []int{len(bufs[0])}, []conn.Endpoint{ep}
	_ = b.Send(sent, ep)
	if n := testing.AllocsPerRun(100, func() {
		e.received(bufs, sizes, eps)
		_ = b.Send(sent, ep)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Another endpoint with the same address, as a bind may make one for each packet, is no news.
func TestRoamed(t *testing.T) {
	calls := 0
	e, b := New(mesh.Key{}, &brokenBind{}, hclog.NewNullLogger(), func() { calls++ })
	e.SetPeers([]mesh.PeerConfig{racing(peerKey, live, dead)})
	e.indexes.addTheirs(2, e.peers[peerKey])
	for _, test := range []struct {
		to   netip.AddrPort
		want int
	}{{live, 1}, {live, 1}, {dead, 2}, {dead, 2}, {live, 3}} {
		if _ = b.Send([][]byte{packet(2)}, placeAt(test.to.String())); calls != test.want {
			t.Errorf("%d changes at %v, want %d", calls, test.to, test.want)
		}
	}
}

func packet(receiver uint32) []byte {
	b := sealed(1420)
	binary.LittleEndian.PutUint32(b[4:], receiver)
	return b
}

// BenchmarkReceive measures bursts of 128 packets.
func BenchmarkReceive(b *testing.B) {
	e, _ := New(mesh.Key{}, &brokenBind{}, hclog.NewNullLogger(), func() {})
	e.SetPeers([]mesh.PeerConfig{{PublicKey: peerKey}})
	e.indexes.addOurs(1, e.peers[peerKey])
	in, sizes, eps := make([][]byte, 128), make([]int, 128), make([]conn.Endpoint, 128)
	for i := range in {
		in[i], sizes[i], eps[i] = packet(1), 1452, placeAt(live.String())
	}
	b.ReportAllocs()
	for b.Loop() {
		e.received(in, sizes, eps)
	}
}
