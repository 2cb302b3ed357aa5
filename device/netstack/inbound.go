package netstack

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/wirespan/wirespan/device/offload"
)

// The sizes of the chunks in which a packet lies in the stack's memory.
const (
	// headerSize has room for all headers of a TCP packet. The stack copies the
	// chunk that holds the headers, so payload should not be in it.
	headerSize = 128
	// chunkSize is a power of two, as the stack's chunks are. With small chunks
	// little memory is left unused, and memory that was cleared is still in the
	// cache when it is filled.
	chunkSize = 16 << 10
)

// Write hands packets from the tunnel to the stack. Successive packets of a TCP
// connection reach it as one.
func (n *Netstack) Write(bufs [][]byte, offset int) (int, error) {
	c := n.coalescers.Get().(*offload.Coalescer)
	defer n.coalescers.Put(c)
	filter := n.ingress.Load()
	var now time.Duration
	if filter != nil {
		now = filter.flows.now()
	}
	var err error
	for at := 0; at < len(bufs); at += offload.MaxBatch {
		batch := bufs[at:min(at+offload.MaxBatch, len(bufs))]
		runs := c.Runs(batch, offset)
		for i := range runs {
			if filter != nil && !filter.admitsRun(batch, offset, &runs[i], now) {
				n.refused.Add(uint64(len(runs[i].Packets)))
				continue
			}
			if e := n.deliver(batch, offset, &runs[i]); e != nil {
				err = e
			}
		}
	}
	return len(bufs), err
}

// deliver hands a run of packets to the stack.
func (n *Netstack) deliver(bufs [][]byte, offset int, run *offload.Run) error {
	first := bufs[run.Packets[0]]
	first = first[min(offset, len(first)):]
	if len(first) == 0 {
		return nil
	}
	var protocol tcpip.NetworkProtocolNumber
	switch first[0] >> 4 {
	case 4:
		protocol = ipv4.ProtocolNumber
	case 6:
		protocol = ipv6.ProtocolNumber
	default:
		return fmt.Errorf("packet of IP version %d: %w", first[0]>>4, unix.EAFNOSUPPORT)
	}
	if len(run.Packets) == 1 {
		n.link.deliver(protocol, single(first))
		return nil
	}
	run.Seal(first)
	n.link.deliver(protocol, joined(bufs, offset, run))
	return nil
}

// single returns a packet, copied into the stack's memory.
func single(packet []byte) *stack.PacketBuffer {
	l := loader{rest: len(packet)}
	l.add(packet)
	return l.finish()
}

// joined returns a super-packet, copied into the stack's memory.
func joined(bufs [][]byte, offset int, run *offload.Run) *stack.PacketBuffer {
	l := loader{rest: run.Size}
	skip := 0
	for _, i := range run.Packets {
		l.add(bufs[i][offset+skip:])
		skip = run.Layout.Header // only the first has headers
	}
	return l.finish()
}

// loader builds a packet in the stack's memory, piece by piece.
type loader struct {
	buffer buffer.Buffer
	view   *buffer.View // the last chunk, not in buffer yet
	rest   int          // bytes still to be added
}

func (l *loader) add(b []byte) {
	for len(b) > 0 {
		if l.view.Full() {
			l.grow()
		}
		n, _ := l.view.Write(b[:min(len(b), l.view.AvailableSize())])
		b, l.rest = b[n:], l.rest-n
	}
}

// grow starts another chunk.
func (l *loader) grow() {
	size := chunkSize
	if l.view == nil {
		size = headerSize
	}
	_ = l.buffer.Append(l.view)
	l.view = buffer.NewView(min(l.rest, size))
}

func (l *loader) finish() *stack.PacketBuffer {
	_ = l.buffer.Append(l.view)
	return stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: l.buffer})
}
