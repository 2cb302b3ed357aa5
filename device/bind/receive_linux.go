package bind

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	// maxMessages is how many messages one system call receives at most. That is
	// enough to make the cost of the call small; each needs memory of its own.
	maxMessages = 16
	maxMessage  = 1 << 16 // bytes: larger than any message
)

// receiver is the state of one socket's ReceiveFunc. It reads messages into scratch
// memory and copies their datagrams from there. Reading directly into the caller's
// buffers, by a guess of the segment size, is no faster: many small pieces cost the
// kernel as much as the copy from warm memory costs here.
type receiver struct {
	bind   *Bind
	sock   *socket
	closed <-chan struct{} // when the Bind is
	failed bool            // the last call received nothing but an error
	cache  cache
	fill   func(fd uintptr) bool

	msgs     [maxMessages]mmsghdr
	iovs     [maxMessages]unix.Iovec
	names    [maxMessages][unix.SizeofSockaddrInet6]byte
	controls [maxMessages][controlSize]byte
	scratch  [][]byte

	messages [maxMessages]message
	pending  []message // those with datagrams not handed out yet; nothing is read meanwhile
	each     int       // datagrams to expect in a message

	// The state of the call under way.
	bufs  [][]byte
	sizes []int
	eps   []conn.Endpoint
	next  int // index of the next buffer to fill
	errno syscall.Errno
}

func (b *Bind) receiver(s *socket, closed <-chan struct{}) *receiver {
	r := &receiver{bind: b, sock: s, closed: closed, each: 1, scratch: make([][]byte, maxMessages)}
	r.cache = newCache()
	r.fill = r.read
	// One allocation. Its pages become resident when they are first written to.
	scratch := make([]byte, maxMessages*maxMessage)
	for i := range r.msgs {
		r.scratch[i] = scratch[i*maxMessage:][:maxMessage]
		r.iovs[i].Base = &r.scratch[i][0]
		r.iovs[i].SetLen(maxMessage)
		msg := &r.msgs[i].Msghdr
		msg.Iov = &r.iovs[i]
		msg.SetIovlen(1)
		msg.Name, msg.Control = &r.names[i][0], &r.controls[i][0]
	}
	return r
}

// receive is a conn.ReceiveFunc. It returns an error only when the Bind is closed: after
// any other error a device would receive no more.
func (r *receiver) receive(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	for {
		n, err := r.once(bufs, sizes, eps)
		if err == nil {
			r.failed = false
			return n, nil
		}
		if err := r.reopen(err); err != nil {
			return 0, err
		}
	}
}

// once waits for datagrams, and receives them.
func (r *receiver) once(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	r.bufs, r.sizes, r.eps, r.next, r.errno = bufs, sizes, eps, 0, 0
	r.deal()
	if r.next < len(bufs) {
		if err := r.sock.raw.Read(r.fill); err != nil && r.next == 0 {
			return 0, err
		}
	}
	r.bufs, r.sizes, r.eps = nil, nil, nil
	if r.next == 0 && r.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	notifyHandshakes(r.bind.handshakes, bufs, sizes[:r.next])
	return r.next, nil
}

// read receives until the socket is empty or the buffers are filled. It returns
// false to wait until the socket is readable, and be called again.
func (r *receiver) read(fd uintptr) bool {
	for r.next < len(r.bufs) {
		asked := max(1, min(maxMessages, (len(r.bufs)-r.next)/r.each))
		for i := range asked {
			r.msgs[i].Namelen = unix.SizeofSockaddrInet6
			r.msgs[i].SetControllen(controlSize)
		}
		got, errno := r.bind.kernel.receive(fd, r.msgs[:asked])
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return r.next > 0
		default:
			r.errno = errno
			return true
		}
		r.take(got)
		if got < asked && r.next > 0 {
			return true // the socket is empty
		}
	}
	return true
}

// take parses the first n messages that were received, and hands them out.
func (r *receiver) take(n int) {
	for i := range n {
		m, msg := &r.messages[i], &r.msgs[i]
		c := parseControl(r.controls[i][:msg.Controllen])
		m.data = r.scratch[i][:msg.n]
		m.segment = int(msg.n)
		if c.segment > 0 {
			m.segment = c.segment
		}
		if msg.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			m.data = nil // it is not known where datagrams end
		}
		m.ep = r.cache.endpoint(pathOf(&r.names[i], c))
		r.each = max(1, m.datagrams(), r.each*7/8)
	}
	r.pending = r.messages[:n]
	r.deal()
}

// deal hands out pending datagrams until there are none or the buffers are filled.
func (r *receiver) deal() {
	for len(r.pending) > 0 && r.next < len(r.bufs) {
		m := &r.pending[0]
		filled := m.deal(r.bufs[r.next:], r.sizes[r.next:])
		for i := range filled {
			r.eps[r.next+i] = m.ep
		}
		r.next += filled
		if len(m.data) == 0 {
			r.pending = r.pending[1:]
		}
	}
}
