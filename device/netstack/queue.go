package netstack

import (
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// What may wait for the tunnel, for TCP and for everything else. TCP's share is
// as small as keeps the tunnel busy: what waits there is delay for everyone, and
// has left the caches when it is read.
const (
	queuePackets = 1024
	queueBytes   = 512 << 10
)

// share is what one kind of traffic has in the queue.
type share struct{ packets, bytes int }

func (s *share) add(packets, bytes int) { s.packets, s.bytes = s.packets+packets, s.bytes+bytes }

func (s *share) full() bool { return s.packets >= queuePackets || s.bytes >= queueBytes }

// queue is a ring of what the stack sends, until the tunnel reads it.
//
// TCP data waits for room, which the sender passes on: its connection's send
// buffer fills, and Write blocks. Dropping for want of room would make every fast
// connection find the size of the queue by losing bursts. (Whoever reads may
// still lose single packets, to signal congestion.) Nothing else waits, since the tunnel's
// own goroutine sends it (echo replies, resets), or a caller that expects
// datagrams to be lost rather than late; without room it is dropped. The two
// kinds have a share each, so a flood of either leaves the other its own.
type queue struct {
	ready chan struct{} // holds a token while the ring may be non-empty, or closed

	mu         sync.Mutex
	room       sync.Cond // of mu: TCP has room, or closed
	closed     bool
	tcp, other share
	ring       [4 * queuePackets]*stack.PacketBuffer
	head, size int
}

func newQueue() *queue {
	q := &queue{ready: make(chan struct{}, 1)}
	q.room.L = &q.mu
	return q
}

// push adds a packet and takes a reference to it; false if there is no room.
func (q *queue) push(pkt *stack.PacketBuffer) bool {
	tcp := pkt.TransportProtocolNumber == header.TCPProtocolNumber
	data := tcp && pkt.Data().Size() > 0
	q.mu.Lock()
	defer q.mu.Unlock()
	for data && q.tcp.full() && !q.closed {
		q.room.Wait()
	}
	// TCP without data is let in until the ring is full.
	if q.closed || q.size == len(q.ring) || !tcp && q.other.full() {
		return false
	}
	q.shareOf(pkt).add(1, pkt.Size())
	q.ring[(q.head+q.size)%len(q.ring)] = pkt.IncRef()
	q.size++
	q.wake()
	return true
}

func (q *queue) shareOf(pkt *stack.PacketBuffer) *share {
	if pkt.TransportProtocolNumber == header.TCPProtocolNumber {
		return &q.tcp
	}
	return &q.other
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take fills into with the oldest packets, no more than it takes to make that
// many segments; the caller owns their references.
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
		q.wake()
	}
	if !q.tcp.full() {
		q.room.Broadcast()
	}
	return n
}

// wait returns when there may be something to take, or with os.ErrClosed.
func (q *queue) wait() error {
	<-q.ready
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.wake()
		return os.ErrClosed
	}
	return nil
}

// close drops what is in the queue and ends wait.
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
	q.wake()
}
