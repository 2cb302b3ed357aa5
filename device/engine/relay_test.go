package engine

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

// relaySockets counts checks of relays.
type relaySockets struct {
	*sockets
	checks map[string]int
}

func (s *relaySockets) CheckRelay(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks[name]++
}

func (s *relaySockets) checked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checks[name]
}

// unavailable is what a relay without an address answers.
type unavailable struct{}

func (unavailable) Error() string { return "no address on the relay" }
func (unavailable) Relay() string { return "box1" }

// When data by a relay has no answer, the relay is checked; when it can take none, the path is left
// soon. Addresses keep their relay throughout, and that this host refuses nothing shows.
func TestRelayedPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &relaySockets{&sockets{refuse: map[string]error{}}, map[string]int{}}
		e, b := New(mesh.Key{}, s, hclog.NewNullLogger(), func() {})
		e.Remember()
		d := &wgDevice{bind: b}
		e.Attach(d)
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.Run(t.Context())
		}()
		t.Cleanup(func() { <-done })

		via, other := mesh.Via(live, "box1"), mesh.Via(live, "box2")
		p := racing(peerKey, via, other)
		p.Address = netip.MustParseAddr("fd00::2")
		e.SetPeers([]mesh.PeerConfig{p})
		time.Sleep(200 * time.Millisecond)
		if got := s.initiationsTo(); got[via.String()] == 0 || got[other.String()] == 0 {
			t.Errorf("initiations %v", got)
		}
		response := handshake(mesh.Key{}, wireguard.MessageResponseType, wireguard.MessageResponseSize, 77, d.index.Load())
		eps := []conn.Endpoint{placeAt(via.String())}
		e.received([][]byte{response}, []int{len(response)}, eps)
		e.Handshake(peerKey, time.Now(), via)
		if got := e.Path(peerKey); !got.Settled || got.Candidates[0].Endpoint != via || got.Candidates[0].RTT == 0 {
			t.Errorf("the path is %+v", got)
		}
		_ = b.Send([][]byte{packet(77)}, eps[0])
		time.Sleep(time.Second)
		if n := s.checked("box1"); n != 0 {
			t.Errorf("after a second the relay was checked %d times", n)
		}
		time.Sleep(600 * time.Millisecond)
		if s.checked("box1") == 0 || s.checked("box2") != 0 {
			t.Errorf("checks %v", s.checks)
		}
		e.received([][]byte{packet(d.index.Load())}, []int{1452}, eps)
		time.Sleep(time.Second)
		s.refuses(via, unavailable{})
		_ = b.Send([][]byte{packet(77)}, eps[0])
		time.Sleep(500 * time.Millisecond)
		if got := e.Path(peerKey); got.Settled || got.Candidates[0].Why != "no address on the relay" {
			t.Errorf("half a second after the relay was lost: %+v", got)
		}
		for _, a := range e.Attempts() {
			if a.Refusal != mesh.NotRefused || a.Endpoint != via && a.Endpoint != other {
				t.Errorf("attempt %+v", a)
			}
		}
	})
}
