package inflight

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

const (
	// The node may start nodeBurst handshakes at once with addresses that have not
	// answered, as when it starts in a mesh of a thousand nodes, and then one each
	// nodeInterval.
	nodeBurst    = 1000
	nodeInterval = time.Second / 50
	// A host may be sent destinationBurst at once, for a site of as many nodes
	// behind one address, and then one each destinationInterval.
	destinationBurst    = 32
	destinationInterval = time.Second / 5
	// maxDestinations is how many hosts are remembered before those with a full
	// budget are forgotten. The node's budget leaves fewer than that with another.
	maxDestinations = 4096
	// answerTime is how long an answer counts. A session renews it every 2 min.
	answerTime = 5 * time.Minute
	// maxAnswers is how many addresses that answered are remembered.
	maxAnswers = 8192
)

// errInitiationLimit is why an initiation was not sent. Upstream logs it, and tries
// again 5 s later.
var errInitiationLimit = errors.New("not sent: too many handshakes with addresses that have not answered")

// initiationLimit bounds the handshakes that are started with addresses from which
// nobody has completed one. Discovery says where peers are, and anyone in the
// cluster can make it name a stranger's address, for any number of peers.
type initiationLimit struct {
	mu           sync.Mutex // guards what follows
	node         budget
	destinations map[netip.Addr]budget        // by [host]
	answered     map[netip.AddrPort]time.Time // when last
	dropped      uint64
}

func newInitiationLimit() *initiationLimit {
	return &initiationLimit{destinations: map[netip.Addr]budget{}, answered: map[netip.AddrPort]time.Time{}}
}

// admit reports whether an initiation may be sent to an address.
func (l *initiationLimit) admit(to netip.AddrPort, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.answered[to]; ok && now.Sub(at) < answerTime {
		return true
	}
	key := host(to.Addr())
	destination, node := l.destinations[key], l.node
	if !destination.take(destinationBurst, destinationInterval, now) || !node.take(nodeBurst, nodeInterval, now) {
		l.dropped++
		return false
	}
	if len(l.destinations) >= maxDestinations {
		for k, b := range l.destinations {
			if b.full(now) {
				delete(l.destinations, k)
			}
		}
	}
	l.destinations[key], l.node = destination, node
	return true
}

// answer notes that a handshake with an address was completed.
func (l *initiationLimit) answer(from netip.AddrPort, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.answered[from]; !known && len(l.answered) >= maxAnswers {
		for k, at := range l.answered {
			if now.Sub(at) >= answerTime {
				delete(l.answered, k)
			}
		}
		for k := range l.answered { // any: it still has the budgets
			if len(l.answered) < maxAnswers {
				break
			}
			delete(l.answered, k)
		}
	}
	l.answered[from] = now
}

// host returns what counts as one host: an IPv4 address, or a /64 of IPv6.
func host(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() || !a.IsValid() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64) // never fails
	return p.Addr()
}

// budget is a token bucket, as the time at which it is full again.
type budget time.Time

func (b budget) full(now time.Time) bool { return !time.Time(b).After(now) }

// take takes a token, if there is one.
func (b *budget) take(burst int, interval time.Duration, now time.Time) bool {
	if b.full(now) {
		*b = budget(now)
	}
	next := time.Time(*b).Add(interval)
	if next.Sub(now) > time.Duration(burst)*interval {
		return false
	}
	*b = budget(next)
	return true
}

// LimitInitiations bounds from now on the handshakes that the device starts with
// addresses for which [Bind.Answered] was not called. It must be called before the
// device sends.
func (b *Bind) LimitInitiations() { b.initiations = newInitiationLimit() }

// Answered notes that a handshake with an address was completed.
func (b *Bind) Answered(from netip.AddrPort) {
	if b.initiations != nil {
		b.initiations.answer(from, time.Now())
	}
}

// DroppedInitiations returns how many handshakes were not started for the limit.
func (b *Bind) DroppedInitiations() uint64 {
	if b.initiations == nil {
		return 0
	}
	b.initiations.mu.Lock()
	defer b.initiations.mu.Unlock()
	return b.initiations.dropped
}

// mayInitiate reports whether bufs may be sent.
func (b *Bind) mayInitiate(bufs [][]byte, ep conn.Endpoint) bool {
	if b.initiations == nil || !isInitiation(bufs) {
		return true
	}
	return b.initiations.admit(addressOf(ep), time.Now()) // those that can't be parsed share a budget
}
