package netstack

import (
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/wirespan/wirespan/mesh"
)

// How much may wait for the tunnel, for TCP and for all other traffic. That is no more
// than keeps the tunnel busy: data that waits delays all other data, and has left the
// caches when it is read.
const (
	queuePackets = 1024
	queueBytes   = 512 << 10
)

// share is the part of the queue that one kind of traffic occupies.
type share struct{ packets, bytes int }

func (s *share) add(packets, bytes int) { s.packets, s.bytes = s.packets+packets, s.bytes+bytes }

func (s *share) full() bool { return s.packets >= queuePackets || s.bytes >= queueBytes }

// queue is a ring of packets that the stack sends, until the tunnel reads them.
//
// TCP data waits for room, and the sender notices: its connection's send buffer
// fills, and Write blocks. If data were dropped instead, every fast connection would
// find the size of the queue by losing bursts. (The reader may still drop single
// packets, to signal congestion.) Other packets do not wait. They are sent by the
// tunnel's own goroutine (echo replies, resets), or by a caller that expects datagrams
// to be lost rather than late. Without room they are dropped. Each of the two kinds
// has its share, so a flood of one leaves room for the other.
type queue struct {
	ready mesh.Signal // the ring may be non-empty, or the queue is closed

	mu         sync.Mutex // guards what follows
	room       sync.Cond  // with mu: TCP has room, or the queue is closed
	closed     bool
	tcp, other share
	ring       [4 * queuePackets]*stack.PacketBuffer
	head, size int
}

func newQueue() *queue {
	q := &queue{ready: mesh.NewSignal()}
	q.room.L = &q.mu
	return q
}

// push adds a packet and takes a reference to it. It returns false if there is no
// room.
func (q *queue) push(pkt *stack.PacketBuffer) bool {
	tcp := pkt.TransportProtocolNumber == header.TCPProtocolNumber
	data := tcp && pkt.Data().Size() > 0
	q.mu.Lock()
	defer q.mu.Unlock()
	for data && q.tcp.full() && !q.closed {
		q.room.Wait()
	}
	// TCP without data is accepted until the ring is full.
	if q.closed || q.size == len(q.ring) || !tcp && q.other.full() {
		return false
	}
	q.shareOf(pkt).add(1, pkt.Size())
	q.ring[(q.head+q.size)%len(q.ring)] = pkt.IncRef()
	q.size++
	q.ready.Notify()
	return true
}

func (q *queue) shareOf(pkt *stack.PacketBuffer) *share {
	if pkt.TransportProtocolNumber == header.TCPProtocolNumber {
		return &q.tcp
	}
	return &q.other
}

// take fills into with the oldest packets, but with no more than it takes to make that
// many segments. The caller owns their references.
func (q *queue) take(into []*stack.PacketBuffer, segments, mtu int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for ; n < len(into) && segments > 0 && q.size > 0; n++ {
		pkt := q.ring[q.head]
		q.ring[q.head] = nil
		q.head = (q.head + 1) % len(q.ring)
		q.size--
		q.shareOf(pkt).add(-1, -pkt.Size())
		into[n] = pkt
		segments -= segmentsOf(pkt, mtu)
	}
	if q.size > 0 || q.closed {
		q.ready.Notify()
	}
	if !q.tcp.full() {
		q.room.Broadcast()
	}
	return n
}

// wait returns when there may be a packet to take, or with os.ErrClosed.
func (q *queue) wait() error {
	<-q.ready
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.ready.Notify()
		return os.ErrClosed
	}
	return nil
}

// close drops all packets in the queue and ends wait.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for ; q.size > 0; q.size-- {
		q.ring[q.head].DecRef()
		q.ring[q.head] = nil
		q.head = (q.head + 1) % len(q.ring)
	}
	q.room.Broadcast()
	q.ready.Notify()
}
