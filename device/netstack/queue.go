package netstack

import (
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// queueSize bounds the packets between stack and tunnel.
const queueSize = 1024

// queue is the stack's link endpoint: what the stack sends waits in a ring for
// the tunnel to read it in batches. It never blocks the stack.
type queue struct {
	ready chan struct{} // holds a token while the ring may be non-empty, or closed

	mu         sync.Mutex
	dispatcher stack.NetworkDispatcher
	mtu        uint32
	closed     bool
	ring       [queueSize]*stack.PacketBuffer
	head, size int
}

func newQueue(mtu int) *queue {
	return &queue{ready: make(chan struct{}, 1), mtu: uint32(mtu)}
}

// push adds a packet and takes a reference to it; false if there is no room.
func (q *queue) push(pkt *stack.PacketBuffer) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.size == queueSize {
		return false
	}
	q.ring[(q.head+q.size)%queueSize] = pkt.IncRef()
	q.size++
	q.wake()
	return true
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// pop fills into with the oldest packets, waiting for the first; the caller
// owns their references. It fails with os.ErrClosed.
func (q *queue) pop(into []*stack.PacketBuffer) (int, error) {
	for {
		<-q.ready
		q.mu.Lock()
		n := min(q.size, len(into))
		for i := range n {
			into[i], q.ring[q.head] = q.ring[q.head], nil
			q.head = (q.head + 1) % queueSize
		}
		q.size -= n
		if q.size > 0 || q.closed {
			q.wake()
		}
		closed := q.closed
		q.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if closed {
			return 0, os.ErrClosed
		}
	}
}

// deliver hands a packet from the tunnel to the stack.
func (q *queue) deliver(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	q.mu.Lock()
	d := q.dispatcher
	q.mu.Unlock()
	if d != nil {
		d.DeliverNetworkPacket(protocol, pkt)
	}
}

// WritePackets implements stack.LinkWriter.
func (q *queue) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, pkt := range pkts.AsSlice() {
		if !q.push(pkt) {
			break
		}
		n++
	}
	if n == 0 {
		return 0, &tcpip.ErrNoBufferSpace{}
	}
	return n, nil
}

// Close drops what waits and ends pop.
func (q *queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for ; q.size > 0; q.size-- {
		q.ring[q.head].DecRef()
		q.ring[q.head] = nil
		q.head = (q.head + 1) % queueSize
	}
	q.wake()
}

// Attach implements stack.LinkEndpoint.
func (q *queue) Attach(d stack.NetworkDispatcher) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dispatcher = d
}

// IsAttached implements stack.LinkEndpoint.
func (q *queue) IsAttached() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dispatcher != nil
}

// MTU implements stack.LinkEndpoint.
func (q *queue) MTU() uint32 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mtu
}

// SetMTU implements stack.LinkEndpoint.
func (q *queue) SetMTU(mtu uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mtu = mtu
}

// The rest of stack.LinkEndpoint: a link of bare IP packets has no addresses,
// headers or workers.

func (*queue) MaxHeaderLength() uint16                      { return 0 }
func (*queue) LinkAddress() tcpip.LinkAddress               { return "" }
func (*queue) SetLinkAddress(tcpip.LinkAddress)             {}
func (*queue) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityNone }
func (*queue) Wait()                                        {}
func (*queue) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareNone }
func (*queue) AddHeader(*stack.PacketBuffer)                {}
func (*queue) ParseHeader(*stack.PacketBuffer) bool         { return true }
func (*queue) SetOnCloseAction(func())                      {}
