package netstack

import (
	"golang.zx2c4.com/wireguard/conn"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/wirespan/wirespan/device/offload"
)

const batchSize = conn.IdealBatchSize

// outbound cuts the packets of the stack into packets of the tunnel. It belongs to
// Read.
type outbound struct {
	batch   [batchSize]*stack.PacketBuffer
	waiting []*stack.PacketBuffer // part of batch; the first may be cut in part
	cut     cut                   // of the first
}

// cut is the state of cutting one of the stack's packets.
type cut struct {
	view      *buffer.View // where the rest begins; nil before the start
	skip      int          // bytes of view that are used
	segmenter offload.Segmenter
	header    int // size of the headers
	next      int // index of the next segment
}

// segmentSize returns how much payload of one of the stack's packets fits in a packet
// of the tunnel. A connection keeps the segment size it began with, so the MTU may
// have become smaller.
func segmentSize(pkt *stack.PacketBuffer, mtu int) int {
	size := int(pkt.GSOOptions.MSS)
	if room := mtu - pkt.HeaderSize(); room > 0 {
		size = min(size, room)
	}
	return max(size, 1)
}

// segmentsOf returns how many packets of the tunnel one of the stack's packets becomes.
func segmentsOf(pkt *stack.PacketBuffer, mtu int) int {
	if pkt.GSOOptions.Type == stack.GSONone {
		return 1
	}
	size := segmentSize(pkt, mtu)
	return max(1, (pkt.Data().Size()+size-1)/size)
}

// read fills bufs from the queue. It waits for the first packet. Packets larger than
// their buffers are lost, and counted.
func (o *outbound) read(l *link, bufs [][]byte, sizes []int, offset int) (n, lost int, err error) {
	for n == 0 {
		if len(o.waiting) == 0 {
			if err := l.wait(); err != nil {
				return 0, lost, err
			}
		}
		var missed int
		n, missed = o.fill(l, bufs, sizes, offset)
		lost += missed
	}
	return n, lost, nil
}

// fill is read without waiting.
func (o *outbound) fill(l *link, bufs [][]byte, sizes []int, offset int) (n, lost int) {
	mtu := int(l.MTU())
	for {
		for n < len(bufs) && len(o.waiting) > 0 {
			pkt := o.waiting[0]
			size, done := o.cut.packet(pkt, bufs[n][offset:], mtu)
			if size > 0 {
				sizes[n] = size
				n++
			} else {
				lost++
			}
			if done {
				o.cut.view = nil
				o.waiting[0] = nil
				o.waiting = o.waiting[1:]
				pkt.DecRef()
			}
		}
		if n == len(bufs) {
			return n, lost
		}
		taken := l.take(o.batch[:], len(bufs)-n, mtu)
		if taken == 0 {
			return n, lost
		}
		o.waiting = o.batch[:taken]
	}
}

// packet writes the next packet of pkt to dst. It returns the packet's size, or 0 if
// it does not fit, and whether it was the last of pkt.
func (c *cut) packet(pkt *stack.PacketBuffer, dst []byte, mtu int) (size int, done bool) {
	if pkt.GSOOptions.Type == stack.GSONone {
		if pkt.Size() > len(dst) {
			return 0, true
		}
		c.begin(pkt)
		return c.copy(dst[:pkt.Size()]), true
	}
	if c.view == nil {
		c.begin(pkt)
		c.segment(pkt, mtu)
	}
	i := c.next
	c.next++
	payload := c.segmenter.Payload(i)
	done = c.next == c.segmenter.Count()
	if c.header+payload > len(dst) {
		c.discard(payload)
		return 0, done
	}
	c.copy(dst[c.header:][:payload])
	return c.segmenter.Finish(dst, i), done
}

// begin moves to the start of pkt.
func (c *cut) begin(pkt *stack.PacketBuffer) {
	views, unused := pkt.AsViewList()
	c.view, c.skip = views.Front(), 0
	c.discard(unused)
}

// segment reads the headers of a TCP packet. The stack leaves the checksum to be
// computed, whether the packet is cut or not.
func (c *cut) segment(pkt *stack.PacketBuffer, mtu int) {
	var h [offload.MaxHeader]byte
	l := offload.Layout{Protocol: offload.TCP, Header: c.copy(h[:pkt.HeaderSize()])}
	if l.IPv6 = pkt.GSOOptions.Type == stack.GSOTCPv6; l.IPv6 {
		l.Transport = header.IPv6MinimumSize
	} else {
		l.Transport = int(header.IPv4(h[:]).HeaderLength())
	}
	c.segmenter = offload.NewSegmenter(h[:l.Header], l, segmentSize(pkt, mtu), pkt.Data().Size())
	c.header, c.next = l.Header, 0
}

// copy fills dst with the bytes that follow, and returns how many there were.
func (c *cut) copy(dst []byte) int {
	size := 0
	for size < len(dst) && c.view != nil {
		n := copy(dst[size:], c.view.AsSlice()[c.skip:])
		size += n
		c.advance(n)
	}
	return size
}

// discard skips size bytes.
func (c *cut) discard(size int) {
	for size > 0 && c.view != nil {
		n := min(size, c.view.Size()-c.skip)
		size -= n
		c.advance(n)
	}
}

func (c *cut) advance(n int) {
	c.skip += n
	if c.skip == c.view.Size() {
		c.view, c.skip = c.view.Next(), 0
	}
}
