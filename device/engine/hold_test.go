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

// An initiation does not arrive together with a response that was sent before it.
func TestInitiationBehindResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetPeers([]mesh.PeerConfig{racing(peerKey, live)})
		w.Handshake(peerKey, time.Now(), live) // the device then renews its session by itself
		time.Sleep(time.Second)
		sent := func() int {
			w.sockets.mu.Lock()
			defer w.sockets.mu.Unlock()
			return len(w.sockets.sent)
		}
		send := func(kind, size int, index uint32) {
			_ = w.bind.Send([][]byte{handshake(peerKey, kind, size, index, 78)}, placeAt(live.String()))
		}
		send(wireguard.MessageResponseType, wireguard.MessageResponseSize, 77)
		n := sent()
		send(wireguard.MessageInitiationType, wireguard.MessageInitiationSize, 79)
		if m := sent(); m != n {
			t.Errorf("%d messages leave with the response", m-n)
		}
		time.Sleep(crossGap)
		n = sent()
		send(wireguard.MessageInitiationType, wireguard.MessageInitiationSize, 80)
		if sent() == n {
			t.Error("20 ms later, no initiation leaves")
		}
	})
}

// endingDevice answers the peer while it is asked for an initiation that ends sessions.
type endingDevice struct {
	*wgDevice
	makes bool // the initiation
}

func (d endingDevice) Initiate(key mesh.Key, restart bool, wanted func() bool) {
	if !wanted() {
		return
	}
	msg := handshake(key, wireguard.MessageResponseType, wireguard.MessageResponseSize, 77, 78)
	_ = d.bind.Send([][]byte{msg}, placeAt(live.String()))
	if d.makes {
		d.wgDevice.Initiate(key, restart, func() bool { return true })
	}
}

// A response whose session the device may have ended is not sent, unless the initiation for
// which it did is not made.
func TestResponseOfEndedSession(t *testing.T) {
	for makes, want := range map[bool]int{true: wireguard.MessageInitiationSize, false: wireguard.MessageResponseSize} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.Attach(endingDevice{w.device, makes})
			w.SetPeers([]mesh.PeerConfig{racing(peerKey, live)})
			time.Sleep(100 * time.Millisecond)
			w.sockets.mu.Lock()
			defer w.sockets.mu.Unlock()
			if len(w.sockets.sent) != 1 || w.sockets.sent[0].size != want {
				t.Errorf("initiation made: %v; sent %+v, want one of %d bytes", makes, w.sockets.sent, want)
			}
		})
	}
}
