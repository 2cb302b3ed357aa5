package tun

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/offload"
)

const (
	// linearSize is one byte more than the largest packet: an IPv6 header, and as much
	// payload as that can describe.
	linearSize = offload.MaxPacket + 41
	// singleSize is how much of a packet goes into the first buffer if no
	// super-packet is expected: a packet of any usual MTU, but not the whole of a
	// super-packet, which would make all of the buffer resident.
	singleSize = 4<<10 - 128
	// maxConfidence is how many single packets may come in a row until no
	// super-packet is expected any more.
	maxConfidence = 16
	// maxFailures is how many packets in a row the kernel may fail to hand over.
	maxFailures = 1000
)

// reader reads packets until the kernel has no more or the batch is full.
type reader struct {
	mode mode

	// The batch that is being filled.
	bufs   [][]byte
	sizes  []int
	offset int
	next   int // index of the next buffer to fill
	err    error

	sparse  bool // packets come one by one: do not look for a second one
	skipped bool // the last batch skipped its last read: the kernel may have more

	failures int // of the kernel, in a row

	guess  guess
	first  int // size of the first buffer in the last read
	slots  int // buffers for payload in the last read, the first included
	virtio [virtioSize]byte
	iov    [offload.MaxBatch + 2]unix.Iovec

	// A super-packet whose packets are not all delivered: it is in linear.
	pending bool
	super   offload.Segmenter
	header  int // size of its headers
	done    int // packets delivered

	linear [linearSize]byte
}

// guess describes the next super-packet, which is expected to be like the last one.
type guess struct {
	header, segment int
	packets         int // in a super-packet of the largest size
	confidence      int // falls with each single packet; 0: no super-packet is expected
}

// begin starts a batch. It reports whether the batch is complete without a read.
func (r *reader) begin(bufs [][]byte, sizes []int, offset int) bool {
	r.bufs, r.sizes, r.offset, r.next, r.err = bufs, sizes, offset, 0, nil
	if r.pending {
		r.deliver()
	}
	return r.next > 0 && r.full()
}

// end ends the batch, and returns the number of its packets.
func (r *reader) end() (int, error) {
	r.bufs, r.sizes = nil, nil
	return r.next, r.err
}

// full reports whether the batch has too little room for the next packet, or for a
// super-packet if one is expected.
func (r *reader) full() bool {
	room := len(r.bufs) - r.next
	return room == 0 || r.next > 0 && r.guess.confidence > 0 && room < r.guess.packets
}

// fill reads without waiting. It returns false if there was no packet.
//
// It reads until a read finds no packet. While packets come one by one, it skips that
// last read: the next batch starts with it. So a ping takes as many system calls as
// if each packet were a batch.
func (r *reader) fill(fd uintptr) bool {
	for !r.full() {
		n, errno := r.receive(fd)
		switch errno {
		case 0:
			r.failures = 0
			r.take(n)
			if r.sparse && r.next == 1 {
				if r.skipped = !r.skipped; r.skipped {
					return true
				}
				r.sparse = false // the kernel had more packets
			}
		case unix.EINTR:
		case unix.EAGAIN:
			r.skipped = false
			if r.next > 0 {
				r.sparse = r.next == 1
				return true
			}
			return false
		case unix.EBADFD:
			r.err = os.ErrClosed
			return true
		case unix.EINVAL: // the kernel dropped a packet that it can't describe
			if r.failures++; r.failures < maxFailures {
				continue
			}
			fallthrough
		default:
			r.err = os.NewSyscallError("readv", errno)
			return true
		}
	}
	return true
}

// receive reads one packet. The virtio header, the start of the packet and, if a
// super-packet is expected, the payload of its other segments each go to their place.
// The rest goes to linear, to the offset that it has in the packet.
func (r *reader) receive(fd uintptr) (int, unix.Errno) {
	iov := r.iov[:0]
	if r.mode.virtio {
		iov = appendIovec(iov, r.virtio[:])
	}
	first := r.room(r.next)
	g, at := &r.guess, 0 // at is the packet's offset up to which iov has room
	r.slots = 1
	if size := g.header + g.segment; g.confidence > 0 && size <= len(first) {
		first, at = first[:size], size
		iov = appendIovec(iov, first)
		for r.slots < min(g.packets, len(r.bufs)-r.next) {
			buf := r.room(r.next + r.slots)
			if len(buf) < size || at+g.segment > len(r.linear) {
				break
			}
			iov = appendIovec(iov, buf[g.header:size])
			at += g.segment
			r.slots++
		}
	} else {
		first = first[:min(len(first), singleSize)]
		iov, at = appendIovec(iov, first), len(first)
	}
	r.first = len(first)
	if at < len(r.linear) {
		iov = appendIovec(iov, r.linear[at:])
	}
	n, errno := readv(fd, iov)
	clear(iov) // keeps no buffer alive
	return n, errno
}

// room returns the part of buffer i that packet i of the batch goes to.
func (r *reader) room(i int) []byte {
	buf := r.bufs[i]
	return buf[min(r.offset, len(buf)):]
}

// take delivers the n bytes that receive read.
func (r *reader) take(n int) {
	var h virtio
	if r.mode.virtio {
		if n < virtioSize {
			return
		}
		h.decode(r.virtio[:])
		n -= virtioSize
	}
	if h.gso != unix.VIRTIO_NET_HDR_GSO_NONE {
		r.takeSuper(&h, n)
		return
	}
	r.guess.confidence = max(r.guess.confidence-1, 0)
	dst := r.room(r.next)
	if n == 0 || n > len(dst) {
		return
	}
	dst = dst[:n]
	if n > r.first {
		r.gather(dst)
	}
	if h.partial && !h.complete(dst) {
		return
	}
	r.sizes[r.next] = n
	r.next++
}

// takeSuper cuts a super-packet of n bytes into packets: in place, if the guess was
// right.
func (r *reader) takeSuper(h *virtio, n int) {
	g := &r.guess
	first := r.room(r.next)[:min(n, r.first)]
	if l, ok := h.layout(first); ok && r.inPlace(h, l, n) {
		g.confidence = maxConfidence
		s := offload.NewSegmenter(first, l, h.segment, n-l.Header)
		for i := range s.Count() {
			r.sizes[r.next] = s.Finish(r.room(r.next), i)
			r.next++
		}
		return
	}
	if n > len(r.linear) {
		return
	}
	packet := r.linear[:n]
	r.gather(packet)
	l, ok := h.layout(packet)
	if !ok {
		return
	}
	r.super, r.header, r.done, r.pending = offload.NewSegmenter(packet, l, h.segment, n-l.Header), l.Header, 0, true
	// The next super-packet is likely to be as large as possible.
	*g = guess{header: l.Header, segment: h.segment, confidence: maxConfidence}
	g.packets = min((offload.MaxPacket-l.Header+h.segment-1)/h.segment, offload.MaxBatch)
	r.deliver()
}

// inPlace reports whether the payload of each segment is in its packet's buffer.
func (r *reader) inPlace(h *virtio, l offload.Layout, n int) bool {
	g := &r.guess
	return l.Header == g.header && h.segment == g.segment &&
		r.first == l.Header+h.segment && n <= l.Header+r.slots*h.segment
}

// gather copies to dst the packet that the last read scattered. dst is the first
// buffer or linear.
func (r *reader) gather(dst []byte) {
	n := copy(dst, r.room(r.next)[:r.first])
	for i := 1; i < r.slots && n < len(dst); i++ {
		n += copy(dst[n:], r.room(r.next + i)[r.guess.header:][:r.guess.segment])
	}
	copy(dst[n:], r.linear[n:])
}

// deliver copies packets of the super-packet in linear to the buffers of the batch.
// Those for which there is no buffer wait for the next batch.
func (r *reader) deliver() {
	s := &r.super
	for ; r.done < s.Count() && r.next < len(r.bufs); r.done++ {
		at, n := r.header+r.done*s.Payload(0), s.Payload(r.done)
		dst := r.room(r.next)
		if r.header+n > len(dst) {
			continue
		}
		copy(dst[r.header:], r.linear[at:at+n])
		r.sizes[r.next] = s.Finish(dst, r.done)
		r.next++
	}
	r.pending = r.done < s.Count()
}
