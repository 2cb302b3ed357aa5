package splice

import (
	"net"
)

// source reads from a connection. next returns a buffer, with its first n bytes filled,
// which release gives back. The buffer may be nil if there is an error.
type source interface {
	next() (b *buffer, n int, err error)
	release(b *buffer)
}

func newSource(c net.Conn) source {
	// Of sockets, only these very types: one that embeds them may read from elsewhere.
	var s source
	switch c := c.(type) {
	case *net.TCPConn:
		s = newSocketSource(c)
	case *net.UnixConn:
		s = newSocketSource(c)
	}
	if s != nil {
		return s
	}
	return &connSource{conn: c}
}

// connSource reads from anything. If that can wait for data, the buffer is taken
// afterwards.
type connSource struct {
	conn net.Conn
	size sizer
}

func (s *connSource) next() (*buffer, int, error) {
	if err := WaitReadable(s.conn); err != nil {
		return nil, 0, err
	}
	b := s.size.get()
	n, err := s.conn.Read(*b)
	s.size.filled(n)
	return b, n, err
}

func (*connSource) release(b *buffer) { put(b) }
