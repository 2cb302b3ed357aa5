package device

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/wirespan/wirespan/device/inflight"
	"github.com/wirespan/wirespan/device/path"
)

// maxAnswers is how many probes of peers are remembered until they are answered.
const maxAnswers = 64

// answers marks what this host answers to the probes of peers, so that the engine takes it
// for no data. While none is to come, that costs a look at the header of each packet that
// comes in, and one atomic load per batch that goes out.
type answers struct {
	probed  func(from netip.Addr) // a peer's probe is about to be answered
	pending atomic.Int32          // len(tokens)

	mu     sync.Mutex // guards tokens
	tokens map[token]bool
}

// note looks whether a packet that comes in is a probe: an echo request as large as those,
// with the data of a pinger.
func (a *answers) note(packet []byte) {
	if len(packet) < path.MinMTU {
		return
	}
	from, msg, ok := parseEcho(packet, ipv4.ICMPTypeEcho, ipv6.ICMPTypeEchoRequest)
	if !ok || !isPadding(msg[icmpHeader+tokenSize:]) || !a.expect(token(msg[icmpHeader:])) {
		return
	}
	a.probed(from)
}

// expect remembers a probe, for as long as its sender does. It reports whether there was
// room for it.
func (a *answers) expect(t token) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.tokens) == maxAnswers || a.tokens[t] {
		return false
	}
	a.tokens[t] = true
	a.pending.Add(1)
	time.AfterFunc(echoTime, func() { a.take(t) })
	return true
}

// take reports whether a probe was to be answered, and forgets it.
func (a *answers) take(t token) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.tokens[t] {
		return false
	}
	delete(a.tokens, t)
	a.pending.Add(-1)
	return true
}

// mark marks packets that go out and answer probes.
func (a *answers) mark(bufs [][]byte, sizes []int, offset int) {
	if a.pending.Load() == 0 {
		return
	}
	for i, size := range sizes {
		_, msg, ok := parseEcho(bufs[i][offset:offset+size], ipv4.ICMPTypeEchoReply, ipv6.ICMPTypeEchoReply)
		if ok && a.take(token(msg[icmpHeader:])) {
			inflight.Answer.Put(bufs[i], size)
		}
	}
}
