package agent

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// A clock that is set changes no peer's state, and what is shown and pinned moves along.
func TestClockIsSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"from 1970": 56 * 365 * 24 * time.Hour, "back": -20 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, meshDocument)
				var offset atomic.Int64
				h.config.Clock = must(state.OpenClock(h.state, state.ClockConfig{
					Synchronised: func() bool { return false }, Offset: func() time.Duration { return time.Duration(offset.Load()) },
				}))
				b := testPeer(2, "192.0.2.2:51820")
				h.live = []string{"192.0.2.2:51820"}
				h.start()
				h.find(b)
				h.advance(time.Minute)
				h.wantPeer(b, mesh.PeerStateUp, "192.0.2.2:51820")
				before, status := h.peer(b), h.agent.Status()
				pin := h.config.Memory.Pins(h.agent.self.Subnet)[0]

				offset.Store(int64(by))
				h.host.Change(func() {})
				h.advance(time.Second)
				h.wantPeer(b, mesh.PeerStateUp, "192.0.2.2:51820")
				after, now := h.peer(b), h.agent.Status()
				if got := after.LastHandshake.Sub(before.LastHandshake.Round(0)); got != by {
					t.Errorf("the last handshake moved by %s, want %s", got, by)
				}
				if got := now.Started.Sub(status.Started.Round(0)); got != by {
					t.Errorf("the start moved by %s, want %s", got, by)
				}
				if got := h.config.Memory.Pins(h.agent.self.Subnet)[0].FirstSeen.Sub(pin.FirstSeen); got != by {
					t.Errorf("the pin moved by %s, want %s", got, by)
				}
				h.wantLogged(1, "the clock was set")
				h.stop()
			})
		})
	}
}
