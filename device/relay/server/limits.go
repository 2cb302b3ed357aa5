package server

import (
	"cmp"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what members may use. A zero field is its default.
type Limits struct {
	Allocations          int           // in total (64)
	AllocationsPerMember int           // (2)
	AllocationsPerSource int           // per IPv4 address or IPv6 /64 (16)
	Peers                int           // permissions of an allocation, and channels (256)
	Streams              int           // TCP connections in total (4 × Allocations); the oldest without an allocation makes room
	StreamsPerSource     int           // (2 × AllocationsPerSource)
	Bandwidth            int64         // bytes per second, both directions together (25 MB)
	AllocationBandwidth  int64         // of one allocation (Bandwidth / 4)
	Lifetime             time.Duration // of an allocation that asks for none; at most an hour (10 min)
}

func (l Limits) withDefaults() Limits {
	l.Allocations = cmp.Or(l.Allocations, 64)
	l.AllocationsPerMember = cmp.Or(l.AllocationsPerMember, 2)
	l.AllocationsPerSource = cmp.Or(l.AllocationsPerSource, 16)
	l.Peers = cmp.Or(l.Peers, 256)
	l.Streams = cmp.Or(l.Streams, 4*l.Allocations)
	l.StreamsPerSource = cmp.Or(l.StreamsPerSource, 2*l.AllocationsPerSource)
	l.Bandwidth = cmp.Or(l.Bandwidth, 25_000_000)
	l.AllocationBandwidth = cmp.Or(l.AllocationBandwidth, max(l.Bandwidth/4, 1))
	l.Lifetime = min(cmp.Or(l.Lifetime, 10*time.Minute), time.Hour)
	return l
}

// burstTime is how long a full bucket lasts at the bound.
const burstTime = 100 * time.Millisecond

// bucket returns the size of a bucket: at least a few packets.
func bucket(bandwidth int64) int {
	return int(min(max(float64(bandwidth)*burstTime.Seconds(), 16*1500), math.MaxInt32))
}

// source is what counts as one source: an IPv4 address or an IPv6 network.
func source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if p, err := a.Prefix(64); a.Is6() && err == nil {
		return p.Addr()
	}
	return a
}

// Bounds of answers to small requests.
const (
	// smallRequest is what is smaller than an answer may be that asks for credentials.
	smallRequest   = 88
	smallPerSource = 200 * time.Millisecond // between two answers, on average
	sourceBurst    = 20
	smallInTotal   = 2 * time.Millisecond
	totalBurst     = 200
	// meters is for how many sources are counted. Those with the same hash share a bound.
	meters = 4096
)

// answers bounds the answers to small requests.
type answers struct {
	mu      sync.Mutex
	seed    maphash.Seed
	start   time.Time
	total   meter
	sources [meters]meter
}

func (a *answers) admit(now time.Time, from netip.Addr) bool {
	key := source(from).As16()
	a.mu.Lock()
	defer a.mu.Unlock()
	since := now.Sub(a.start)
	return a.sources[maphash.Bytes(a.seed, key[:])%meters].admit(since, smallPerSource, sourceBurst) &&
		a.total.admit(since, smallInTotal, totalBurst)
}

// meter is the time until which the answers of a source are used up, as GCRA counts it.
type meter time.Duration

func (m *meter) admit(now, interval time.Duration, burst int) bool {
	next := max(time.Duration(*m), now)
	if next-now > time.Duration(burst-1)*interval {
		return false
	}
	*m = meter(next + interval)
	return true
}
