package burst

import (
	"net"
	"net/netip"
	"sync"
)

// Queue holds datagrams until they are read, as bursts where they follow one another. Use NewQueue.
type Queue struct {
	in     chan *datagram
	pool   sync.Pool // of *datagram
	next   *datagram // was taken out, and is returned next; the reader's
	closed chan struct{}
	close  func()
}

type datagram struct {
	from netip.AddrPort
	b    []byte
}

// NewQueue returns a queue for a number of datagrams of at most a size.
func NewQueue(length, size int) *Queue {
	q := &Queue{in: make(chan *datagram, length), closed: make(chan struct{})}
	q.close = sync.OnceFunc(func() { close(q.closed) })
	q.pool.New = func() any { return &datagram{b: make([]byte, 0, size)} }
	return q
}

// Put adds a datagram, and reports whether it is not too large and there was room.
func (q *Queue) Put(b []byte, from netip.AddrPort) bool {
	d := q.pool.Get().(*datagram)
	if len(b) <= cap(d.b) {
		d.b, d.from = append(d.b[:0], b...), from
		select {
		case q.in <- d:
			return true
		default:
		}
	}
	q.pool.Put(d)
	return false
}

// ReadFromUDPAddrPort returns the next datagram. One that is larger than b is cut.
func (q *Queue) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	d := q.next
	if q.next = nil; d == nil {
		select {
		case <-q.closed:
			return 0, netip.AddrPort{}, net.ErrClosed
		case d = <-q.in:
		}
	}
	defer q.pool.Put(d)
	return copy(b, d.b), d.from, nil
}

// ReadBurst is that of Socket.
func (q *Queue) ReadBurst(b []byte) (n, size int, from netip.AddrPort, err error) {
	n, from, err = q.ReadFromUDPAddrPort(b)
	size = n
	for last := n; err == nil && last == size && n+size <= len(b); {
		select {
		case d := <-q.in:
			if d.from != from || len(d.b) > size {
				q.next = d
				return n, size, from, nil
			}
			last = copy(b[n:], d.b)
			n += last
			q.pool.Put(d)
		default:
			return n, size, from, nil
		}
	}
	return n, size, from, err
}

// Len returns how many datagrams wait.
func (q *Queue) Len() int { return len(q.in) }

// Closed reports whether the queue is closed.
func (q *Queue) Closed() bool {
	select {
	case <-q.closed:
		return true
	default:
		return false
	}
}

// Close ends reading, now and later.
func (q *Queue) Close() { q.close() }
