package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket of the network namespace of the thread that opened
// it. The kernel handles a request while it is sent, so that the answer is
// there when sending returns. Not safe for concurrent use.
type socket struct {
	fd   int
	port uint32 // our address; the kernel writes it on what our requests cause
	seq  uint32
	buf  []byte
}

// message is one that came in. Its body is valid until the next receive.
type message struct {
	typ, flags uint16
	seq        uint32
	port       uint32 // of who caused it
	body       []byte
}

var (
	errInterrupted = errors.New("the kernel's state changed while it was read")
	errNoAnswer    = errors.New("the kernel did not answer")
)

func openSocket(protocol int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, err
	}
	s := &socket{fd: fd, buf: make([]byte, 1<<16)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		s.close()
		return nil, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		s.close()
		return nil, err
	}
	if a, ok := name.(*unix.SockaddrNetlink); ok {
		s.port = a.Pid
	}
	// Errors come without a copy of the request; the reason comes as text. Dumps
	// are filtered by the kernel, from Linux 4.20 on. All of it can be missed.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return s, nil
}

func (s *socket) close() { _ = unix.Close(s.fd) }

func (s *socket) next() uint32 {
	s.seq++
	return s.seq
}

// send writes messages in one piece. One that does not fit into the send buffer
// makes it grow.
func (s *socket) send(b []byte) error {
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	err := unix.Sendto(s.fd, b, 0, kernel)
	if !errors.Is(err, unix.EMSGSIZE) {
		return err
	}
	size := len(b) + 4096 // the kernel doubles it
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size)
	}
	if err = unix.Sendto(s.fd, b, 0, kernel); errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("a transaction of %d bytes: raise net.core.wmem_max to that: %w", len(b), err)
	}
	return err
}

// receive returns the next datagram's messages, or EAGAIN if there is none.
func (s *socket) receive() (iter.Seq[message], error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(s.fd, s.buf, nil, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("an answer of more than %d bytes", len(s.buf))
		}
		return messages(s.buf[:n]), nil
	}
}

func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			n := binary.NativeEndian.Uint32(b)
			if n < unix.SizeofNlMsghdr || int64(n) > int64(len(b)) {
				return
			}
			m := message{
				typ:   binary.NativeEndian.Uint16(b[4:]),
				flags: binary.NativeEndian.Uint16(b[6:]),
				seq:   binary.NativeEndian.Uint32(b[8:]),
				port:  binary.NativeEndian.Uint32(b[12:]),
				body:  b[unix.SizeofNlMsghdr:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(align4(int(n)), len(b)):]
		}
	}
}

// request sends one message and gives the answers to each, which may be nil.
func (s *socket) request(typ, flags uint16, fill func(*encoder), each func(message)) error {
	seq := s.next()
	var e encoder
	at := e.message(typ, flags|unix.NLM_F_ACK, seq)
	fill(&e)
	e.end(at)
	if err := s.send(e.b); err != nil {
		return err
	}
	interrupted := false
	for {
		got, err := s.receive()
		if errors.Is(err, unix.EAGAIN) {
			return errNoAnswer
		} else if err != nil {
			return err
		}
		for m := range got {
			if m.seq != seq {
				continue // of a request that was given up
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if err := kernelError(m); err != nil {
					return err
				}
				if interrupted {
					return errInterrupted
				}
				return nil
			default:
				if each != nil {
					each(m)
				}
			}
		}
	}
}

// dump asks for everything of a kind, again if that changed meanwhile.
func (s *socket) dump(typ uint16, fill func(*encoder), restart func(), each func(message)) error {
	var err error
	for range 10 {
		restart()
		if err = s.request(typ, unix.NLM_F_DUMP, fill, each); !errors.Is(err, errInterrupted) {
			break
		}
	}
	return err
}

// extackError is an errno with the kernel's own words.
type extackError struct {
	errno unix.Errno
	text  string
}

func (e extackError) Error() string { return e.errno.Error() + " (kernel: " + e.text + ")" }
func (e extackError) Unwrap() error { return e.errno }

// kernelError is what an NLMSG_ERROR or NLMSG_DONE says; nil for success.
func kernelError(m message) error {
	errno := -int32(ne32(m.body))
	if errno <= 0 {
		return nil
	}
	rest := m.body[4:]
	if m.typ == unix.NLMSG_ERROR {
		rest = rest[min(unix.SizeofNlMsghdr, len(rest)):]
	}
	if m.flags&unix.NLM_F_ACK_TLVS != 0 {
		for typ, v := range attributes(rest) {
			if typ == unix.NLMSGERR_ATTR_MSG {
				return extackError{unix.Errno(errno), text(v)}
			}
		}
	}
	return unix.Errno(errno)
}
