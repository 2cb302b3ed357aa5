package path

import (
	"net/netip"
	"time"
)

const (
	// A node sends nodeRate datagrams a second to addresses that did not answer in their
	// first attempts.
	nodeRate = 20
	// First attempts have a budget of firstPerPeer for each peer, which is full again
	// after firstRefill.
	firstPerPeer = 64
	firstRefill  = time.Minute
	// One host may be sent hostBurst at once, for a site of as many nodes behind one
	// address, and then hostRate a second.
	hostBurst = 64
	hostRate  = 1
	// Handshakes of searches that have failed before take 1/workShare of a CPU at most, of
	// which workBurst may follow each other at once.
	workShare = 20
	workBurst = 8
	// maxCost bounds what is believed of the cost of a handshake: a machine may have been
	// busy or asleep meanwhile.
	maxCost = time.Second
	// maxHosts is how many hosts are remembered before those with a full budget are
	// forgotten. If none has, all are.
	maxHosts = 4096
)

// Budget bounds what a node sends to addresses that have never answered. The zero Budget
// allows what a node without peers may send.
type Budget struct {
	peers   int
	cost    time.Duration // CPU time of a handshake; 0: not known
	work    bucket        // of handshakes
	line    time.Time     // when the last peer that waits for its turn has it
	node    bucket
	first   bucket
	hosts   map[netip.Addr]bucket
	dropped uint64
}

// SetPeers says how many peers the node has.
func (b *Budget) SetPeers(n int) { b.peers = n }

// Dropped returns how many datagrams were not sent.
func (b *Budget) Dropped() uint64 { return b.dropped }

// take reports whether a datagram may be sent to an address that has not answered. First
// says that it belongs to one of the first attempts with that address.
func (b *Budget) take(to netip.Addr, first bool, now time.Time) bool {
	key := host(to)
	h, all := b.hosts[key], &b.node
	burst, interval := nodeRate, time.Second/nodeRate
	if first {
		all, burst = &b.first, firstPerPeer*max(b.peers, 1)
		interval = firstRefill / time.Duration(burst)
	}
	if !h.has(hostBurst, time.Second/hostRate, now) || !all.has(burst, interval, now) {
		b.dropped++
		return false
	}
	h.take(time.Second/hostRate, now)
	all.take(interval, now)
	if len(b.hosts) >= maxHosts {
		b.forget(now)
	}
	if b.hosts == nil {
		b.hosts = map[netip.Addr]bucket{}
	}
	b.hosts[key] = h
	return true
}

// Took says how long it took to make an initiation. The shortest of late ones counts: longer
// ones were made while the CPU was busy.
func (b *Budget) Took(d time.Duration) {
	if d = min(max(d, time.Microsecond), maxCost); b.cost == 0 || d < b.cost {
		b.cost = d
	} else {
		b.cost = min(d, b.cost+b.cost/16)
	}
}

// ready reports whether another handshake may be made. If not, it returns when it is the
// caller's turn: those that have to wait stand in a line. Unproven says that it is for an
// address that has not answered before. This is asked before a handshake is made, which
// costs far more than what is sent.
func (b *Budget) ready(unproven bool, now time.Time) (ok bool, turn time.Time) {
	const pause = time.Second / nodeRate
	if b.work.has(workBurst, b.workPause(), now) && (!unproven || b.node.has(nodeRate, pause, now)) {
		return true, now
	}
	b.line = later(b.line, now).Add(max(b.workPause(), pause))
	return false, b.line
}

// workPause is the time in which the budget has room for another handshake.
func (b *Budget) workPause() time.Duration { return workShare * b.cost }

// worked notes that a handshake was made.
func (b *Budget) worked(now time.Time) {
	b.work.take(b.workPause(), now)
	if last := now.Add(workBurst * b.workPause()); b.work.after(last) { // by first attempts, which have no limit
		b.work = bucket(last)
	}
}

func (b *Budget) forget(now time.Time) {
	for k, h := range b.hosts {
		if !h.after(now) {
			delete(b.hosts, k)
		}
	}
	if len(b.hosts) >= maxHosts {
		clear(b.hosts)
	}
}

// host returns what counts as one host: an IPv4 address, or a /64 of IPv6.
func host(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() || !a.IsValid() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64) // never fails
	return p.Addr()
}

// bucket is a token bucket, as the time at which it is full again.
type bucket time.Time

func (b bucket) after(now time.Time) bool { return time.Time(b).After(now) }

func (b bucket) has(burst int, interval time.Duration, now time.Time) bool {
	return !b.after(now) || time.Time(b).Add(interval).Sub(now) <= time.Duration(burst)*interval
}

func (b *bucket) take(interval time.Duration, now time.Time) {
	if !b.after(now) {
		*b = bucket(now)
	}
	*b = bucket(time.Time(*b).Add(interval))
}
