package inflight

import (
	"testing"
	"time"

	wireguard "golang.zx2c4.com/wireguard/device"
)

// admitted gives the limit n messages, of kinds in turn, and returns how many
// handshake messages and how many others it leaves.
func (l *handshakeLimit) admitted(n int, now time.Time, load bool) (handshakes, others int) {
	kinds := []struct {
		kind byte
		size int
	}{
		{wireguard.MessageInitiationType, wireguard.MessageInitiationSize},
		{wireguard.MessageResponseType, wireguard.MessageResponseSize},
		{wireguard.MessageCookieReplyType, wireguard.MessageCookieReplySize},
		{wireguard.MessageTransportType, wireguard.MessageInitiationSize},
		{wireguard.MessageInitiationType, wireguard.MessageInitiationSize + 1}, // upstream drops it
		{wireguard.MessageTransportType, 0},
	}
	bufs, sizes := make([][]byte, n), make([]int, n)
	for i := range bufs {
		k := kinds[i%len(kinds)]
		bufs[i], sizes[i] = []byte{k.kind, 0, 0, 0}, k.size
	}
	l.drop(bufs, sizes, now, func() bool { return load })
	for i, size := range sizes {
		switch {
		case size == 0:
		case isHandshake(bufs[i], size):
			handshakes++
		default:
			others++
		}
	}
	return handshakes, others
}

func TestHandshakeLimit(t *testing.T) {
	var l handshakeLimit
	start := time.Unix(1e9, 0)
	for _, step := range []struct {
		name string
		load bool
		at   time.Duration
		n    int
		want int
	}{
		{"few", false, 0, 60, 30},
		{"many", false, 0, 126, 63},
		{"a flood", false, 0, 180, handshakeBurst},
		{"a flood that goes on", false, 0, 180, handshakeBurst},
		{"under load, with nothing left", true, 0, 180, 0},
		{"1 ms later", true, time.Millisecond, 180, handshakeRate / 1000},
		{"half a message later", true, time.Millisecond + 25*time.Microsecond, 180, 0},
		{"another half", true, time.Millisecond + 50*time.Microsecond, 180, 1},
		{"much later", true, time.Second, 180, handshakeBurst},
		{"the clock was set back", true, 0, 180, handshakeBurst},
		{"no load any more", false, 0, 60, 30},
		{"some left", true, 0, 180, handshakeBurst - 30},
	} {
		got, others := l.admitted(step.n, start.Add(step.at), step.load)
		if got != step.want || others != step.n/3 {
			t.Errorf("%s: %d and %d others of %d were admitted, want %d and %d", step.name, got, others, step.n, step.want, step.n/3)
		}
	}
}

func TestHandshakeLimitAllocs(t *testing.T) {
	var l handshakeLimit
	load := func() bool { return true }
	bufs, sizes := make([][]byte, 128), make([]int, 128)
	for i := range bufs {
		bufs[i] = []byte{wireguard.MessageInitiationType}
	}
	if n := testing.AllocsPerRun(100, func() {
		for i := range sizes {
			sizes[i] = wireguard.MessageInitiationSize
		}
		l.drop(bufs, sizes, time.Now(), load)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
