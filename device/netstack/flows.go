package netstack

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// maxFlows is how many flows are remembered. Flows with the same hash share a
	// group of groupSize.
	maxFlows  = 16384
	groupSize = 8
)

// How long a flow is known after its last packet. These are Linux' defaults
// (nf_conntrack_udp_timeout and so on).
const (
	udpLife      = 30 * time.Second
	answeredLife = 120 * time.Second // of UDP in both directions
	icmpLife     = 30 * time.Second
	resetLife    = 10 * time.Second // of TCP: for packets that arrive after a reset
)

// key identifies a flow: the addresses and ports of both ends, and the protocol.
type key [keyKind + 1]byte

// Offsets in a key.
const (
	keyLocal    = 0
	keyRemote   = 16
	keyPorts    = 32
	keyProtocol = 36
	keyKind     = 37
)

// flow is an entry in the table of flows.
type flow struct {
	key      key
	answered bool          // the other end has sent, too
	until    time.Duration // when it expires
}

// flows remembers to which addresses and ports this node has sent lately. Only
// packets that it sends create flows, so other nodes can't fill the table, except by
// being answered. In a full group, the flow that expires first is replaced: one that
// has expired already, or one that was never answered rather than a conversation.
//
// It is a table of fixed size instead of a map. A table needs neither garbage
// collection nor a list by age, and has one lock per group.
type flows struct {
	seed   maphash.Seed // unknown to a peer that chooses addresses and ports
	start  time.Time
	groups [maxFlows / groupSize]group
}

type group struct {
	mu    sync.Mutex // guards flows
	flows [groupSize]flow
}

func newFlows() *flows { return &flows{seed: maphash.MakeSeed(), start: time.Now()} }

// now returns the current time in the form that the other methods take.
func (t *flows) now() time.Duration { return time.Since(t.start) }

func (t *flows) group(k *key) *group {
	return &t.groups[maphash.Bytes(t.seed, k[:])%uint64(len(t.groups))]
}

// find returns the flow if it is known, or else the flow to replace.
func (g *group) find(k *key, now time.Duration) (f *flow, known bool) {
	next := &g.flows[0]
	for i := range g.flows {
		f := &g.flows[i]
		if f.until > now && f.key == *k {
			return f, true
		}
		if f.until < next.until {
			next = f
		}
	}
	return next, false
}

// renew sets when the flow expires.
func (f *flow) renew(now time.Duration) {
	life := resetLife
	switch f.key[keyProtocol] {
	case protocolUDP:
		life = udpLife
		if f.answered {
			life = answeredLife
		}
	case protocolICMP, protocolICMPv6:
		life = icmpLife
	}
	f.until = now + life
}

// sent remembers the flow of a packet that this node sends.
func (t *flows) sent(k *key, now time.Duration) {
	g := t.group(k)
	g.mu.Lock()
	defer g.mu.Unlock()
	f, known := g.find(k, now)
	if !known {
		*f = flow{key: *k}
	}
	f.renew(now)
}

// received reports whether a packet that came in belongs to a known flow, and renews
// the flow.
func (t *flows) received(k *key, now time.Duration) bool {
	g := t.group(k)
	g.mu.Lock()
	defer g.mu.Unlock()
	f, known := g.find(k, now)
	if known {
		f.answered = true
		f.renew(now)
	}
	return known
}

// known reports whether a flow is known.
func (t *flows) known(k *key, now time.Duration) bool {
	g := t.group(k)
	g.mu.Lock()
	defer g.mu.Unlock()
	_, known := g.find(k, now)
	return known
}
