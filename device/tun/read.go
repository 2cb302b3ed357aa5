package tun

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/offload"
)

const (
	// linearSize holds any packet, and what IPv6 does not count of it.
	linearSize = offload.MaxPacket + 41
	// lonerSize is what the first buffer takes of a packet that nothing is known
	// of: a packet of any usual MTU, but no super-packet, which would make all of
	// the buffer resident.
	lonerSize = 4<<10 - 128
	// patience is how many packets of other kinds may come until no
	// super-packet is expected any more.
	patience = 16
	// maxRefused is how many packets in a row the kernel may fail to hand over.
	maxRefused = 1000
)

// reader reads packets until the kernel has no more or the batch is full.
type reader struct {
	mode mode

	// The batch that is being filled.
	bufs   [][]byte
	sizes  []int
	offset int
	next   int // buffers before it are done
	err    error

	sparse  bool // packets come one by one: do not look for a second one
	unasked bool // so the last batch may have left some

	refused int // in a row

	guess  guess
	first  int // bytes that the last read could put in its first buffer
	slots  int // buffers that it could put payload in
	virtio [virtioSize]byte
	iov    [offload.MaxBatch + 2]unix.Iovec

	// A super-packet that has no buffers yet: its payload is in linear.
	left   bool
	super  offload.Segmenter
	header int // size of its headers
	done   int // packets that have been delivered

	linear [linearSize]byte
}

// guess is what the next super-packet is expected to be like: as the last.
type guess struct {
	header, segment int
	packets         int // in the largest one
	hope            int // falls with every packet that is none; 0: expect none
}

// begin starts a batch, and reports whether it is complete without a read.
func (r *reader) begin(bufs [][]byte, sizes []int, offset int) bool {
	r.bufs, r.sizes, r.offset, r.next, r.err = bufs, sizes, offset, 0, nil
	if r.left {
		r.deliver()
	}
	return r.next > 0 && r.full()
}

// end gives the batch up.
func (r *reader) end() (int, error) {
	r.bufs, r.sizes = nil, nil
	return r.next, r.err
}

// full reports whether the batch has too little room for what is expected.
func (r *reader) full() bool {
	room := len(r.bufs) - r.next
	return room == 0 || r.next > 0 && r.guess.hope > 0 && room < r.guess.packets
}

// fill reads without waiting. It reports false if it got nothing.
//
// It ends with a read that finds nothing. While packets come one by one it spares
// that read, which is left to the next batch to start with: a ping takes as many
// system calls as if each packet were a batch.
func (r *reader) fill(fd uintptr) bool {
	for !r.full() {
		n, errno := r.receive(fd)
		switch errno {
		case 0:
			r.refused = 0
			r.take(n)
			if r.sparse && r.next == 1 {
				if r.unasked = !r.unasked; r.unasked {
					return true
				}
				r.sparse = false // there was more after all
			}
		case unix.EINTR:
		case unix.EAGAIN:
			r.unasked = false
			if r.next > 0 {
				r.sparse = r.next == 1
				return true
			}
			return false
		case unix.EBADFD:
			r.err = os.ErrClosed
			return true
		case unix.EINVAL: // the kernel took a packet that it can't describe
			if r.refused++; r.refused < maxRefused {
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

// receive reads one packet: header, first buffer, payload into the buffers after
// it if a super-packet is expected, and the rest into linear, where it lands in
// the place that it would have if all were there.
func (r *reader) receive(fd uintptr) (int, unix.Errno) {
	iov := r.iov[:0]
	if r.mode.virtio {
		iov = appendIovec(iov, r.virtio[:])
	}
	first := r.room(r.next)
	g, at := &r.guess, len(first)
	r.slots = 1
	if size := g.header + g.segment; g.hope > 0 && size <= len(first) {
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
		first = first[:min(len(first), lonerSize)]
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

// room is where packet i of the batch goes.
func (r *reader) room(i int) []byte {
	buf := r.bufs[i]
	return buf[min(r.offset, len(buf)):]
}

// take delivers what receive read.
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
	r.guess.hope = max(r.guess.hope-1, 0)
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

// takeSuper makes packets of a super-packet of n bytes: in place, if the guess
// was right.
func (r *reader) takeSuper(h *virtio, n int) {
	g := &r.guess
	first := r.room(r.next)[:min(n, r.first)]
	if l, ok := h.layout(first); ok && r.inPlace(h, l, n) {
		g.hope = patience
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
	r.super, r.header, r.done, r.left = offload.NewSegmenter(packet, l, h.segment, n-l.Header), l.Header, 0, true
	// What follows is likely to be as large as it can be.
	*g = guess{header: l.Header, segment: h.segment, hope: patience}
	g.packets = min((offload.MaxPacket-l.Header+h.segment-1)/h.segment, offload.MaxBatch)
	r.deliver()
}

// inPlace reports whether the payload of a super-packet lies where it should.
func (r *reader) inPlace(h *virtio, l offload.Layout, n int) bool {
	g := &r.guess
	return l.Header == g.header && h.segment == g.segment &&
		r.first == l.Header+h.segment && n <= l.Header+r.slots*h.segment
}

// gather copies what the last read scattered; dst is the first buffer or linear.
func (r *reader) gather(dst []byte) {
	n := copy(dst, r.room(r.next)[:r.first])
	for i := 1; i < r.slots && n < len(dst); i++ {
		n += copy(dst[n:], r.room(r.next + i)[r.guess.header:][:r.guess.segment])
	}
	copy(dst[n:], r.linear[n:])
}

// deliver copies packets of the super-packet in linear as long as there are
// buffers; the others wait for the next batch.
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
	r.left = r.done < s.Count()
}

func appendIovec(iov []unix.Iovec, b []byte) []unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return append(iov, v)
}
