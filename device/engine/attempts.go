package engine

import (
	"cmp"
	"errors"
	"net/netip"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// attemptTime is how long an address is remembered after the last attempt.
	attemptTime = 5 * time.Minute
	// maxAttempts is how many addresses are remembered.
	maxAttempts = 4096
	// refusalPause is the time between two signals that refusals have begun or ended.
	refusalPause = time.Second
)

// attempts remembers the handshakes with addresses, and the addresses to which this host
// refuses to send. Nothing is known of who answers: peers may share an address.
type attempts struct {
	changed func()       // refusals have begun or ended
	refused atomic.Int32 // addresses to which the last packet was refused

	mu      sync.Mutex // guards what follows
	by      map[netip.AddrPort]attempt
	told    time.Time // when changed was called
	expired time.Time // when room was last made
}

// attempt is what is remembered of an address.
type attempt struct {
	handshakes [mesh.AttemptsKept]time.Time // messages that started or answered one, the newest last
	errno      syscall.Errno                // of the last packet; 0: it left
	refusedAt  time.Time                    // when errno was last seen
}

// sent notes that bufs were sent to an address, or why not.
func (a *attempts) sent(bufs [][]byte, to conn.Endpoint, err error) {
	if a == nil {
		return
	}
	handshake := shakes(bufs)
	errno := refusal(err)
	if !handshake && errno == 0 && a.refused.Load() == 0 || err != nil && errno == 0 {
		return
	}
	a.note(addressOf(to), handshake, errno, time.Now())
}

// note takes the result of a packet to an address.
func (a *attempts) note(to netip.AddrPort, handshake bool, errno syscall.Errno, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, known := a.by[to]
	if !known && (!handshake && errno == 0 || !a.room(now)) {
		return
	}
	next := old
	if next.errno = errno; errno != 0 {
		next.refusedAt = now
	} else if handshake {
		copy(next.handshakes[:], next.handshakes[1:])
		next.handshakes[len(next.handshakes)-1] = now
	}
	a.by[to] = next
	if (old.errno != 0) == (errno != 0) {
		return
	}
	a.refused.Add(int32(min(errno, 1)) - int32(min(old.errno, 1)))
	if now.Sub(a.told) >= refusalPause {
		a.told = now
		a.changed()
	}
}

// room reports whether another address can be remembered. It forgets old ones for it, but
// looks for them at most once in a second: packets wait meanwhile.
func (a *attempts) room(now time.Time) bool {
	if len(a.by) >= maxAttempts && now.Sub(a.expired) >= time.Second {
		a.expired = now
		a.expire(now)
	}
	return len(a.by) < maxAttempts
}

// expire forgets the addresses to which nothing was sent lately.
func (a *attempts) expire(now time.Time) {
	for to, t := range a.by {
		if now.Sub(t.handshakes[len(t.handshakes)-1]) >= attemptTime && now.Sub(t.refusedAt) >= attemptTime {
			delete(a.by, to)
			a.refused.Add(-int32(min(t.errno, 1)))
		}
	}
}

func (a *attempts) list(now time.Time) []mesh.Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(now)
	if len(a.by) == 0 {
		return nil
	}
	out := make([]mesh.Attempt, 0, len(a.by))
	for to, t := range a.by {
		m := mesh.Attempt{Endpoint: to, Handshakes: t.handshakes}
		if t.errno != 0 {
			m.Refusal, m.Error = refusals[t.errno], t.errno.Error()
		}
		out = append(out, m)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Endpoint.Compare(out[j].Endpoint) < 0 })
	return out
}

// refusals are the errors by which a host refuses to send a packet at all.
var refusals = map[syscall.Errno]mesh.Refusal{
	syscall.EPERM:         mesh.RefusedByFirewall,
	syscall.EACCES:        mesh.RefusedByRoute, // prohibit
	syscall.EINVAL:        mesh.RefusedByRoute, // blackhole
	syscall.ENETUNREACH:   mesh.RefusedWithoutRoute,
	syscall.EHOSTUNREACH:  mesh.RefusedWithoutRoute,
	syscall.ENETDOWN:      mesh.RefusedWithoutRoute,
	syscall.EADDRNOTAVAIL: mesh.RefusedWithoutRoute,
	syscall.EAFNOSUPPORT:  mesh.RefusedWithoutRoute,
}

// refusal returns the error of the system by which the host refused a packet; 0 if it
// did not, as when the packet was too large or memory was short.
func refusal(err error) syscall.Errno {
	if errno, ok := errors.AsType[syscall.Errno](err); ok && refusals[errno] != mesh.NotRefused {
		return errno
	}
	return 0
}

// viaRelay is the error of a packet that a relay can't take to its peer now.
type viaRelay interface {
	error
	Relay() string
}

// obstacle says why nothing can be sent to an address now; empty if that may be otherwise.
func obstacle(err error) string {
	if errno := refusal(err); errno != 0 {
		return errno.Error()
	}
	if e, ok := errors.AsType[viaRelay](err); ok {
		return e.Error()
	}
	return ""
}

// shakes reports whether bufs starts a handshake or answers one. Upstream sends such a
// message alone.
func shakes(bufs [][]byte) bool {
	if len(bufs) != 1 {
		return false
	}
	t := messageType(bufs[0])
	return t == wireguard.MessageInitiationType || t == wireguard.MessageResponseType
}

// addressOf returns the address of an endpoint, without an allocation if the endpoint
// has a method for it. It is zero if that can't be parsed.
func addressOf(ep conn.Endpoint) netip.AddrPort {
	var to netip.AddrPort
	if e, ok := ep.(interface{ AddrPort() netip.AddrPort }); ok {
		to = e.AddrPort()
	} else {
		to, _ = netip.ParseAddrPort(ep.DstToString())
	}
	return mesh.Plain(to)
}

// endpointText returns an endpoint as people read it.
func endpointText(ep conn.Endpoint) string {
	return cmp.Or(mesh.EndpointText(addressOf(ep)), ep.DstToString(), "nowhere")
}

// sendError is the error of a packet, with the address that it was for. Upstream logs it.
type sendError struct {
	to  conn.Endpoint
	err error
}

func (e *sendError) Error() string {
	return "to " + endpointText(e.to) + ": " + e.err.Error()
}

func (e *sendError) Unwrap() error { return e.err }
