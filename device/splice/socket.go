package splice

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// socketSource takes a buffer when the kernel has data.
type socketSource struct {
	conn net.Conn
	raw  syscall.RawConn
	try  func(fd uintptr) bool // made once
	size sizer

	// The result of try.
	buffer *buffer
	n      int
	err    error
}

// newSocketSource returns nil if c can't be read directly.
func newSocketSource(c interface {
	net.Conn
	syscall.Conn
},
) source {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socketSource{conn: c, raw: raw}
	s.try = s.tryRead
	return s
}

func (s *socketSource) next() (*buffer, int, error) {
	if err := s.raw.Read(s.try); err != nil {
		return nil, 0, err
	}
	switch {
	case s.err != nil:
		return s.buffer, 0, &net.OpError{Op: "read", Net: s.conn.LocalAddr().Network(), Err: os.NewSyscallError("read", s.err)}
	case s.n == 0:
		return s.buffer, 0, io.EOF
	}
	return s.buffer, s.n, nil
}

// tryRead reads once. It returns false if there is nothing to read yet.
func (s *socketSource) tryRead(fd uintptr) bool {
	s.buffer = s.size.get()
	s.err = syscall.EINTR
	for errors.Is(s.err, syscall.EINTR) {
		s.n, s.err = syscall.Read(int(fd), *s.buffer)
	}
	if errors.Is(s.err, syscall.EAGAIN) {
		s.release(s.buffer)
		return false
	}
	s.size.filled(s.n)
	return true
}

func (s *socketSource) release(b *buffer) {
	s.buffer = nil
	put(b)
}

// broken returns why a connection is gone, if its type can tell.
func broken(c net.Conn) error {
	switch c := c.(type) {
	case interface{ Broken() error }:
		return c.Broken()
	case syscall.Conn:
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var number int
		if err := raw.Control(func(fd uintptr) {
			number, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		}); err != nil {
			return err
		}
		if number != 0 {
			return syscall.Errno(number)
		}
	}
	return nil
}
