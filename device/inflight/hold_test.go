package inflight

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
)

// sentBind notes the types of messages that are sent.
type sentBind struct {
	conn.Bind
	mu   sync.Mutex // guards sent
	sent []byte
}

func (b *sentBind) Send(bufs [][]byte, _ conn.Endpoint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range bufs {
		b.sent = append(b.sent, m[0])
	}
	return nil
}

func handshakeMessage(kind byte, size int) []byte {
	m := make([]byte, size)
	m[0] = kind
	return m
}

func TestAnswersAreHeld(t *testing.T) {
	answer := handshakeMessage(wireguard.MessageResponseType, wireguard.MessageResponseSize)
	others := [][]byte{
		handshakeMessage(wireguard.MessageInitiationType, wireguard.MessageInitiationSize),
		handshakeMessage(wireguard.MessageTransportType, wireguard.MessageTransportSize),
		handshakeMessage(wireguard.MessageTransportType, wireguard.MessageResponseSize),
	}
	synctest.Test(t, func(t *testing.T) {
		socket := &sentBind{}
		_, b := newGate(1).sides(&batchPlane{}, socket)
		send := func(m []byte) {
			t.Helper()
			if err := b.Send([][]byte{m}, nil); err != nil {
				t.Error(err)
			}
		}
		expect := func(what string, n int) {
			t.Helper()
			synctest.Wait()
			socket.mu.Lock()
			defer socket.mu.Unlock()
			if len(socket.sent) != n {
				t.Errorf("%s: %d messages were sent, want %d", what, len(socket.sent), n)
			}
			socket.sent = nil
		}
		send(answer)
		expect("an answer that nobody holds", 1)
		b.HoldAnswers(true)
		for _, m := range others {
			send(m)
		}
		expect("other messages", len(others))
		send(answer)
		expect("an answer", 0)
		<-b.Held()
		b.SendAnswers()
		expect("let go", 1)
		time.Sleep(2 * holdTime)
		expect("later", 0)
		send(answer)
		time.Sleep(holdTime - time.Nanosecond)
		expect("within the time", 0)
		time.Sleep(time.Nanosecond)
		expect("after the time", 1)
		for range maxHeld + 2 {
			send(answer)
		}
		expect("beyond the limit", 2)
		b.HoldAnswers(false)
		send(answer)
		b.SendAnswers()
		expect("no longer held", maxHeld+1)
	})
}

// A patient gate neither drops packets of a flow that stands still nor takes its queue for
// congestion. It waits for them.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(3)
		tun, b := g.sides(&batchPlane{}, &sentBind{})
		bufs, sizes := buffers(4)
		for i := range bufs {
			sizes[i] = packetTo(bufs[i][headerSize:], 1400, 1)
		}
		b.Patient()
		if packets, standing := g.admitOutbound(bufs, sizes, headerSize, time.Now()); packets != 4 || standing != 0 {
			t.Errorf("%d packets with %d bytes of a queue", packets, standing)
		}
		start := time.Now()
		g.out.wait(tun.room, tun.timer)
		if waited := time.Since(start); waited < patience || waited > patience+outboundStallTime {
			t.Errorf("waited %v", waited)
		}
	})
}
