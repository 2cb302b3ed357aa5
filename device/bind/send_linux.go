package bind

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	maxSegments = 64 // of one burst, a limit of the kernel
	maxSend     = 32 // messages in one system call, during which the scheduler waits
	// The payload of the largest UDP datagrams over IPv4 and IPv6.
	maxBurst4 = 1<<16 - 1 - 8 - 20
	maxBurst6 = 1<<16 - 1 - 8 - 40
)

// Send sends bufs to ep, an endpoint of this bind.
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
	clear(s.iovs[:min(len(bufs), len(s.iovs))]) // keeps no buffer alive
	b.sendings.Put(s)
	return err
}

// send sends bufs, and falls back when the kernel refuses something. See the
// package's documentation.
func (b *Bind) send(s *sending, bufs [][]byte) error {
	addr, generation := s.ep.dst.Addr(), b.generation.Load()
	offload := s.sock.segment.Load() && !b.fragmented.has(addr, generation)
	segment, source := offload, b.useSource(s.ep)
	var lost error                    // of datagrams that were given up
	disabled, refused := false, false // segmentation on this socket; bursts to this host
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
			// A burst before may have been refused for the source, too.
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

// result returns the error of a Send. The device wants to know when segmentation was
// disabled.
func (b *Bind) result(disabled bool, sock *socket, err error) error {
	if !disabled {
		return err
	}
	b.log.Info("bursts are segmented by the agent from now on: the kernel refused to",
		"socket", sock.conn.LocalAddr().String())
	return conn.ErrUDPGSODisabled{RetryErr: err}
}

// sourceRefused reports whether a send may have failed because its source address or
// interface no longer exists.
func sourceRefused(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENETUNREACH)
}

// concernsOne reports whether the next message may succeed where this one failed: it
// was too large, or memory was short.
func concernsOne(err error) bool {
	return errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// sending is the state of a Send. It is reused.
type sending struct {
	sock *socket
	ep   *endpoint
	send func(fd uintptr, msgs []mmsghdr) (int, syscall.Errno)

	msgs     [conn.IdealBatchSize]mmsghdr
	controls [conn.IdealBatchSize][controlSize]byte
	iovs     [conn.IdealBatchSize]unix.Iovec
	count    int // of messages
	done     int // messages sent
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

// build builds messages from bufs, as many as there is space for.
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

// burst returns how many of the first bufs can leave as one message: they are of one
// size, except that the last may be smaller.
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

// flush sends the messages. It returns the number of datagrams that left and, with
// an error, the number in the message that was refused.
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

// transmit sends until all messages are sent or one is refused.
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
