package engine

import (
	"testing"
	"testing/synctest"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
)

// A response does not arrive together with an initiation that was sent before it.
func TestCrossedResponseIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetPeers([]mesh.PeerConfig{racing(peerKey, live)})
		time.Sleep(time.Millisecond)
		if n := w.sockets.initiationsTo()[live.String()]; n != 1 {
			t.Fatalf("%d initiations", n)
		}
		respond := func() (after time.Duration) {
			start := time.Now()
			msg := handshake(peerKey, wireguard.MessageResponseType, wireguard.MessageResponseSize, 77, 78)
			if err := w.bind.Send([][]byte{msg}, placeAt(live.String())); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Millisecond)
			w.sockets.mu.Lock()
			defer w.sockets.mu.Unlock()
			last := w.sockets.sent[len(w.sockets.sent)-1]
			if last.size != wireguard.MessageResponseSize || last.to != live.String() {
				t.Fatalf("last sent: %+v", last)
			}
			return last.at.Sub(start)
		}
		if after := respond(); after != crossGap-time.Millisecond {
			t.Errorf("1 ms after an initiation, a response is sent after %v", after)
		}
		if after := respond(); after != 0 {
			t.Errorf("31 ms after an initiation, a response is sent after %v", after)
		}
	})
}
