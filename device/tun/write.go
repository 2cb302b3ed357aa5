package tun

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/offload"
)

// writer writes a batch of packets, as super-packets where possible.
type writer struct {
	mode      mode
	coalescer offload.Coalescer

	// The batch that is being written.
	bufs   [][]byte
	offset int
	runs   []offload.Run // nil without virtio-net headers
	next   int           // index of the run, or packet, to write
	sent   int           // packets
	err    error

	iov [offload.MaxBatch]unix.Iovec
}

func (w *writer) begin(bufs [][]byte, offset int) {
	w.bufs, w.offset, w.next, w.sent, w.err = bufs, offset, 0, 0, nil
	if w.mode.virtio {
		w.runs = w.coalescer.Runs(bufs, offset)
	}
}

func (w *writer) end() (int, error) {
	w.bufs, w.runs = nil, nil
	return w.sent, w.err
}

// drain writes until the batch is done. It returns false to wait until the descriptor
// is writable, and be called again.
func (w *writer) drain(fd uintptr) bool {
	for {
		iov, packets := w.gather()
		if packets == 0 {
			return true
		}
		errno := unix.EINVAL
		if len(iov) > 0 {
			errno = writev(fd, iov)
			clear(iov) // keeps no buffer alive
		}
		switch errno {
		case 0:
			w.sent += packets
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case unix.EIO: // the link is down: the packets are dropped
		case unix.EBADFD:
			w.err = os.ErrClosed
			return true
		default: // the next ones may succeed
			if w.err == nil {
				w.err = os.NewSyscallError("writev", errno)
			}
		}
		w.next++
	}
}

// gather returns the memory to write next, and of how many packets it is: 0 at the end
// of the batch. A packet that can't be written has no memory.
func (w *writer) gather() ([]unix.Iovec, int) {
	iov := w.iov[:0]
	if !w.mode.virtio {
		if w.next == len(w.bufs) {
			return nil, 0
		}
		if buf := w.bufs[w.next]; len(buf) > w.offset {
			iov = appendIovec(iov, buf[w.offset:])
		}
		return iov, 1
	}
	if w.next == len(w.runs) {
		return nil, 0
	}
	r := &w.runs[w.next]
	first := w.bufs[r.Packets[0]]
	if w.offset < virtioSize || len(first) <= w.offset {
		return nil, len(r.Packets)
	}
	first = first[w.offset-virtioSize:]
	clear(first[:virtioSize])
	if len(r.Packets) > 1 {
		h := super(r)
		h.encode(first)
		r.Seal(first[virtioSize:])
	}
	iov = appendIovec(iov, first)
	for _, i := range r.Packets[1:] {
		iov = appendIovec(iov, w.bufs[i][w.offset+r.Layout.Header:])
	}
	return iov, len(r.Packets)
}
