package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/device/path"
	"github.com/wirespan/wirespan/mesh"
)

// maxIndexes is how many indexes of a peer are remembered, each way: those of the sessions
// that upstream keeps, and of handshakes under way.
const maxIndexes = 6

// peer is a peer of the device.
type peer struct {
	key     mesh.Key
	mac     [blake2s.Size]byte
	address netip.Addr // which answers echo requests; zero: none is known

	// Of the traffic; times are nanoseconds after Engine.start, 0: never.
	heard      atomic.Int64
	unanswered atomic.Int64 // since when data went out without anything back; 0: it did not
	refused    atomic.Int64 // when a send of data was last refused
	watched    atomic.Bool  // Step will look at unanswered
	large      atomic.Bool  // large data went out since the last probe
	marked     atomic.Bool  // probes, or answers to them, may be among the data
	endpoint   atomic.Pointer[conn.Endpoint]

	// Guarded by Engine.mu.
	path      *path.Peer
	shown     *mesh.PeerPath // of path; nil if that has changed
	mtu       path.MTU
	limited   int            // the limit that the device knows
	markedAt  time.Time      // when the last probe was asked for, or came
	networks  []netip.Prefix // behind the peer
	race      bool           // the engine chooses the path
	standby   bool           // the peer starts the first handshake
	sequence  uint64         // of the peer's record
	wake      time.Time
	queued    []path.Verb // for the device
	message   []byte      // the last initiation, until it is answered
	cookie    bool        // there was a cookie reply to it
	initiated time.Time   // when a copy of an initiation was last sent
	held      held        // a response
	responded time.Time   // when a response was last sent
	ended     bool        // the device has ended the sessions for the last initiation
	handshake time.Time   // the last that the device has completed

	// Guarded by indexes.mu.
	local, remote ring
}

// ring holds the last indexes of one side of a peer.
type ring struct {
	list [maxIndexes]uint32
	next int
}

// indexes finds peers by the indexes in messages.
type indexes struct {
	mu            sync.RWMutex
	local, remote map[uint32]*peer
}

func newIndexes() indexes {
	return indexes{local: map[uint32]*peer{}, remote: map[uint32]*peer{}}
}

// ours returns the peer to which we have given an index; nil if there is none.
func (x *indexes) ours(index uint32) *peer {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.local[index]
}

// theirs returns the peer that has given us an index; nil if there is none.
func (x *indexes) theirs(index uint32) *peer {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.remote[index]
}

func (x *indexes) addOurs(index uint32, p *peer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p.local.put(index, x.local, p)
}

func (x *indexes) addTheirs(index uint32, p *peer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p.remote.put(index, x.remote, p)
}

func (r *ring) put(index uint32, all map[uint32]*peer, p *peer) {
	if all[index] == p {
		return
	}
	if old := r.list[r.next]; all[old] == p {
		delete(all, old)
	}
	r.list[r.next] = index
	r.next = (r.next + 1) % maxIndexes
	all[index] = p
}

// remove forgets a peer.
func (x *indexes) remove(p *peer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range maxIndexes {
		if x.local[p.local.list[i]] == p {
			delete(x.local, p.local.list[i])
		}
		if x.remote[p.remote.list[i]] == p {
			delete(x.remote, p.remote.list[i])
		}
	}
}
