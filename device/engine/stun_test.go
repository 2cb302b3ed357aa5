package engine

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
)

// wire is a bind that remembers what is sent.
type wire struct {
	conn.Bind
	sent [][]byte
	to   []string
}

func (w *wire) Send(bufs [][]byte, to conn.Endpoint) error {
	w.sent, w.to = append(w.sent, bufs...), append(w.to, to.DstToString())
	return nil
}

func (*wire) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	return &conn.StdNetEndpoint{AddrPort: a}, err
}

var client = netip.MustParseAddrPort("192.0.2.7:40000")

// receive hands a datagram to the engine, and reports whether the device gets it.
func receive(e *Engine, b []byte) (passed bool) {
	sizes := []int{len(b)}
	e.received([][]byte{b}, sizes, []conn.Endpoint{&conn.StdNetEndpoint{AddrPort: client}})
	return sizes[0] != 0
}

func TestBindingRequestsAreAnsweredWhereWanted(t *testing.T) {
	w := &wire{}
	e, _ := New(mesh.Key{}, w, hclog.NewNullLogger(), func() {})
	request := stun.AppendRequest(nil, stun.ID{1}, 0)
	if !receive(e, request) || len(w.sent) > 0 {
		t.Error("a request is taken, although nothing is to answer it")
	}
	e.AnswerSTUN(true)
	if receive(e, request) || len(w.sent) != 1 {
		t.Fatal("a request is not answered")
	}
	if m, err := stun.Parse(w.sent[0]); err != nil || m.Mapped != client || w.to[0] != client.String() {
		t.Errorf("the answer is %+v, %v, to %s", m, err, w.to[0])
	}
	e.AnswerSTUN(false)
	if !receive(e, request) || len(w.sent) != 1 {
		t.Error("a request is answered after that was turned off")
	}
}

func TestOnlyOwnAnswersAreTaken(t *testing.T) {
	e, _ := New(mesh.Key{}, &wire{}, hclog.NewNullLogger(), func() {})
	mine := true
	e.TakeSTUN(func(_ []byte, from netip.AddrPort) bool { return mine && from == client }, func() {})
	message := stun.AppendRequest(nil, stun.ID{1}, 0)
	if receive(e, message) {
		t.Error("a message that belongs to a request was passed up")
	}
	if mine = false; !receive(e, message) {
		t.Error("another message was taken")
	}
	if mine = true; !receive(e, make([]byte, 100)) {
		t.Error("a datagram that is no STUN was taken")
	}
}

func TestPacketsPassWithoutAllocations(t *testing.T) {
	e, _ := New(mesh.Key{}, &wire{}, hclog.NewNullLogger(), func() {})
	e.AnswerSTUN(true)
	e.TakeSTUN(func([]byte, netip.AddrPort) bool { return true }, func() {})
	packet, junk := make([]byte, 1400), make([]byte, 1400)
	packet[0] = 4
	bufs, sizes := [][]byte{packet, junk}, []int{1400, 1400}
	ep := &conn.StdNetEndpoint{AddrPort: client}
	eps := []conn.Endpoint{ep, ep}
	if n := testing.AllocsPerRun(100, func() { e.received(bufs, sizes, eps) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A path that is found or lost puts the mapped addresses in doubt.
func TestPathsPutMappingsInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var doubts atomic.Int32
		w.TakeSTUN(func([]byte, netip.AddrPort) bool { return false }, func() { doubts.Add(1) })
		w.SetPeers([]mesh.PeerConfig{racing(peerKey, live)})
		w.Handshake(peerKey, time.Now(), live)
		w.Handshake(peerKey, time.Now().Add(time.Second), live)
		if doubts.Load() != 1 {
			t.Errorf("%d doubts when a path was found, want 1", doubts.Load())
		}
		time.Sleep(time.Minute) // nothing comes
		if w.Path(peerKey).Settled || doubts.Load() != 2 {
			t.Errorf("%d doubts when it was lost, want 2", doubts.Load())
		}
	})
}
