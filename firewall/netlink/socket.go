package netlink

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket for requests and their answers.
type socket struct {
	protocol int
	fd       int
	port     uint32
	seq      uint32 // of the last message sent
	buf      []byte
}

func (s *socket) open(protocol int) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	*s = socket{protocol: protocol, fd: fd, buf: s.buf}
	if s.buf == nil {
		s.buf = make([]byte, 1<<16)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		s.Close()
		return err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		s.Close()
		return err
	}
	if a, ok := name.(*unix.SockaddrNetlink); ok {
		s.port = a.Pid
	}
	// Errors come without a copy of the request, and with an explanation. The
	// kernel filters dumps, from Linux 4.20 on. Each of these is optional.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return nil
}

// Close closes the socket. Requests fail from then on.
func (s *socket) Close() {
	_ = unix.Close(s.fd)
	s.fd = -1
}

// Port returns the socket's netlink address. Events that the socket's requests
// cause carry it: see [Subscribe].
func (s *socket) Port() uint32 { return s.port }

func (s *socket) next() uint32 {
	s.seq++
	return s.seq
}

// send writes messages in one datagram. The send buffer grows if they do not fit.
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
		return fmt.Errorf("send a transaction of %d bytes: raise net.core.wmem_max to that size: %w", len(b), err)
	}
	return err
}

// receive returns the messages of the next datagram, or EAGAIN if there is none.
// They are valid until the next call.
func (s *socket) receive() (iter.Seq[Message], error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(s.fd, s.buf, nil, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("the kernel's answer is larger than %d bytes", len(s.buf))
		}
		return Messages(s.buf[:n]), nil
	}
}

// request sends one message, and passes the answers to each, which may be nil.
func (s *socket) request(typ, flags uint16, fill func(*Encoder), each func(Message)) error {
	return s.exchange(typ, flags, fill, func(m Message) (more bool) {
		if each != nil {
			each(m)
		}
		return true
	})
}

// exchange sends one message, and passes the answers to each until it returns false.
func (s *socket) exchange(typ, flags uint16, fill func(*Encoder), each func(Message) (more bool)) error {
	seq := s.next()
	var e Encoder
	at := e.begin(typ, flags|unix.NLM_F_ACK, seq)
	fill(&e)
	e.End(at)
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
			if m.Seq != seq {
				continue // answers an earlier request that failed
			}
			interrupted = interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if err := errorOf(m); err != nil {
					return err
				}
				if interrupted {
					return ErrInterrupted
				}
				return nil
			default:
				if !each(m) {
					return nil
				}
			}
		}
	}
}

// dump requests all objects of a kind, and repeats that if they changed
// meanwhile. It calls restart before each attempt.
func (s *socket) dump(typ uint16, fill func(*Encoder), restart func(), each func(Message)) error {
	var err error
	for range 10 {
		restart()
		if err = s.request(typ, unix.NLM_F_DUMP, fill, each); !errors.Is(err, ErrInterrupted) {
			break
		}
	}
	return err
}

// peek requests all objects of a kind, and passes them to each until it returns false.
// The kernel makes no more of a dump than is read, so peek uses a socket of its own,
// which ends with it.
func (s *socket) peek(typ uint16, fill func(*Encoder), each func(Message) (more bool)) error {
	p := socket{buf: s.buf}
	if err := p.open(s.protocol); err != nil {
		return err
	}
	defer p.Close()
	err := p.exchange(typ, unix.NLM_F_DUMP, fill, each)
	if errors.Is(err, ErrInterrupted) { // an event follows the change
		return nil
	}
	return err
}
