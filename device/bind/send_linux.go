package bind

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	maxSegments = 64 // in one burst, a limit of the kernel
	maxSend     = 32 // messages in one system call, which holds up the scheduler
	// What the headers of UDP and IP leave of 64 KiB.
	maxBurst4 = 1<<16 - 1 - 8 - 20
	maxBurst6 = 1<<16 - 1 - 8 - 40
)

// Send sends bufs to ep, which this bind made.
func (b *Bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	e, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	sock := b.v4.Load()
	if e.nameLen == unix.SizeofSockaddrInet6 {
		sock = b.v6.Load()
	}
	if sock == nil {
		return unix.EAFNOSUPPORT
	}
	s, ok := b.sendings.Get().(*sending)
	if !ok {
		s = newSending()
	}
	s.sock, s.ep, s.send = sock, e, b.kernel.send
	err := b.send(s, bufs)
	clear(s.iovs[:min(len(bufs), len(s.iovs))]) // hold no buffer
	b.sendings.Put(s)
	return err
}

// send sends bufs, falling back to humbler ways as they are refused.
func (b *Bind) send(s *sending, bufs [][]byte) error {
	addr, generation := s.ep.dst.Addr(), b.generation.Load()
	offload := s.sock.segment.Load() && !b.fragmented.has(addr, generation)
	segment, source := offload, b.useSource(s.ep)
	var lost error                    // what became of single datagrams
	disabled, refused := false, false // segmentation at all; bursts to this peer
	for len(bufs) > 0 {
		s.build(bufs, segment, source)
		n, next, err := s.flush()
		bufs = bufs[n:]
		burst := next > 1
		switch {
		case err == nil:
		case burst && errors.Is(err, unix.EIO):
			s.sock.segment.Store(false)
			offload, segment, disabled = false, false, true
		case burst && (errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EINVAL)):
			segment, refused = false, true
		case source && sourceRefused(err):
			// The source may be what a burst was refused for, too.
			s.ep.ClearSrc()
			source, segment, refused = false, offload, false
		case concernsOne(err):
			lost, bufs = err, bufs[next:]
		default:
			return b.result(disabled, s.sock, err)
		}
	}
	if refused && lost == nil && b.fragmented.add(addr, generation) {
		b.log.Debug("full-size datagrams do not fit the route's MTU: the kernel fragments them", "address", addr)
	}
	return b.result(disabled, s.sock, lost)
}

// result is what Send returns; the device expects to hear of disabled offload.
func (b *Bind) result(disabled bool, sock *socket, err error) error {
	if !disabled {
		return err
	}
	b.log.Info("bursts are segmented by the agent from now on: the kernel refused to",
		"socket", sock.conn.LocalAddr().String())
	return conn.ErrUDPGSODisabled{RetryErr: err}
}

// sourceRefused reports whether a send failed in a way that a source address
// or interface which is gone explains.
func sourceRefused(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENETUNREACH)
}

// concernsOne reports whether a send failed in a way that the next message
// need not share: it was too large, or memory was short.
func concernsOne(err error) bool {
	return errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// sending is the state of one Send, kept for the next.
type sending struct {
	sock *socket
	ep   *endpoint
	send func(fd uintptr, msgs []mmsghdr) (int, syscall.Errno)

	msgs     [conn.IdealBatchSize]mmsghdr
	controls [conn.IdealBatchSize][controlSize]byte
	iovs     [conn.IdealBatchSize]unix.Iovec
	count    int // messages
	done     int // of them sent
	errno    syscall.Errno

	try  func(fd uintptr)
	wait func(fd uintptr) bool
}

func newSending() *sending {
	s := &sending{}
	s.try = s.transmit
	s.wait = func(fd uintptr) bool {
		s.transmit(fd)
		return s.errno != unix.EAGAIN
	}
	return s
}

// build makes messages of bufs, as many as there is space for.
func (s *sending) build(bufs [][]byte, segment, source bool) {
	bufs = bufs[:min(len(bufs), len(s.iovs))]
	limit := maxBurst4
	if s.ep.nameLen == unix.SizeofSockaddrInet6 {
		limit = maxBurst6
	}
	s.count, s.done = 0, 0
	for i := 0; i < len(bufs); s.count++ {
		n := 1
		if segment {
			n = burst(bufs[i:], limit)
		}
		msg, control, used := &s.msgs[s.count].Msghdr, &s.controls[s.count], 0
		msg.Name, msg.Namelen = &s.ep.name[0], s.ep.nameLen
		msg.Iov = &s.iovs[i]
		msg.SetIovlen(n)
		if source {
			used = copy(control[:], s.ep.control[:s.ep.controlLen])
		}
		if n > 1 {
			used += putSegment(control[used:], len(bufs[i]))
		}
		msg.Control = nil
		if used > 0 {
			msg.Control = &control[0]
		}
		msg.SetControllen(used)
		for ; n > 0; n-- {
			s.iovs[i] = unix.Iovec{}
			if len(bufs[i]) > 0 {
				s.iovs[i].Base = &bufs[i][0]
				s.iovs[i].SetLen(len(bufs[i]))
			}
			i++
		}
	}
}

// burst returns how many of the first bufs can leave as one message: they have
// one size, but for the last, which may be smaller.
func burst(bufs [][]byte, limit int) int {
	size := len(bufs[0])
	total, n := size, 1
	for n < min(len(bufs), maxSegments) {
		next := len(bufs[n])
		if next == 0 || next > size || total+next > limit {
			break
		}
		total += next
		n++
		if next < size {
			break
		}
	}
	return n
}

// flush sends the messages. It returns how many datagrams left and, with an
// error, how many are in the message that was refused.
func (s *sending) flush() (sent, next int, err error) {
	err = s.sock.raw.Control(s.try)
	if err == nil && s.errno == unix.EAGAIN {
		err = s.sock.raw.Write(s.wait)
	}
	for i := range s.done {
		sent += int(s.msgs[i].Iovlen)
	}
	if err == nil && s.errno != 0 {
		err, next = os.NewSyscallError("sendmmsg", s.errno), int(s.msgs[s.done].Iovlen)
	}
	return sent, next, err
}

// transmit sends until all messages are gone or one is refused.
func (s *sending) transmit(fd uintptr) {
	s.errno = 0
	for s.done < s.count {
		n, errno := s.send(fd, s.msgs[s.done:min(s.count, s.done+maxSend)])
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			s.errno = errno
			return
		}
		s.done += n
	}
}
