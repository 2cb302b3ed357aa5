package device

import (
	"sync"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// handshakeTimes gives the times of upstream, which are readings of the clock, what lets
// them be compared when the clock has been set since.
type handshakeTimes struct {
	mu    sync.Mutex // held from begin to end
	by    map[mesh.Key]handshakeTime
	round uint8     // of reading all peers
	read  time.Time // when the peers were last read
}

type handshakeTime struct {
	clock time.Time // as upstream has it
	at    time.Time // the same, with a monotonic reading
	round uint8
}

func newHandshakeTimes() *handshakeTimes {
	return &handshakeTimes{by: map[mesh.Key]handshakeTime{}, read: time.Now()}
}

// begin begins a reading of all peers.
func (h *handshakeTimes) begin() {
	h.mu.Lock()
	h.round++
}

// of returns when the last handshake with a peer was. A new one was since the last
// reading, whatever the clock says.
func (h *handshakeTimes) of(key mesh.Key, clock, now time.Time) time.Time {
	t := h.by[key]
	if !t.clock.Equal(clock) {
		age := now.Round(0).Sub(clock)
		if age < 0 || age > now.Sub(h.read) {
			age = 0
		}
		t.clock, t.at = clock, now.Add(-age)
	}
	t.round = h.round
	h.by[key] = t
	return t.at
}

// end ends a reading, in which so many had a handshake, and forgets the others.
func (h *handshakeTimes) end(found int, now time.Time) {
	if len(h.by) > found {
		for key, t := range h.by {
			if t.round != h.round {
				delete(h.by, key)
			}
		}
	}
	h.read = now
	h.mu.Unlock()
}
