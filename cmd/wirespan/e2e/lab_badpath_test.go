package e2e

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// badPath is a bad network between two sides: it loses, duplicates, corrupts, delays and
// reorders datagrams. Each side sends to a port of its own, and receives from that port
// what the other side sent.
type badPath struct {
	doors [2]*net.UDPConn
	sides [2]netip.AddrPort // the addresses of the two sides
	open  atomic.Bool       // if not, all datagrams are lost
	ended sync.WaitGroup

	carried atomic.Uint64
}

// Faults, each with its number of datagrams in 1,000.
const (
	lostPermille      = 10
	doubledPermille   = 10
	reorderedPermille = 30
	corruptPermille   = 2
)

const (
	pathDelay   = 10 * time.Millisecond
	pathReorder = 15 * time.Millisecond // maximum additional delay of datagrams that others overtake
	// In every interval of pathSilence all datagrams are lost for the duration
	// pathSilent.
	pathSilence = time.Minute
	pathSilent  = 2 * time.Second
)

// badPath opens a path on the host h.
func (h *labHost) badPath(at netip.Addr, left, right netip.AddrPort) *badPath {
	h.Helper()
	p := &badPath{sides: [2]netip.AddrPort{left, right}}
	for i := range p.doors {
		err := h.inside(func() (err error) {
			p.doors[i], err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
			return err
		})
		if err != nil {
			h.Fatal(err)
		}
		_ = p.doors[i].SetReadBuffer(1 << 20) // the kernel limits it
	}
	for i := range p.doors {
		line := &delayLine{wake: make(chan struct{}, 1)}
		p.ended.Go(func() { p.take(i, line) })
		p.ended.Go(func() { p.deliver(1-i, line) })
	}
	h.Cleanup(func() {
		_ = errors.Join(p.doors[0].Close(), p.doors[1].Close())
		p.ended.Wait()
	})
	return p
}

// door returns the address at which side 0 or 1 reaches the other side.
func (p *badPath) door(side int) netip.AddrPort {
	return p.doors[side].LocalAddr().(*net.UDPAddr).AddrPort()
}

// take reads what one side sends and applies the faults.
func (p *badPath) take(side int, line *delayLine) {
	defer line.close()
	chance := rand.New(rand.NewChaCha8([32]byte{byte(side)}))
	happens := func(permille int) bool { return chance.IntN(1000) < permille }
	started := time.Now()
	for buf := make([]byte, 64<<10); ; {
		n, err := p.doors[side].Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		now := time.Now()
		silent := now.Sub(started)%pathSilence >= pathSilence-pathSilent
		if err != nil || !p.open.Load() || silent || happens(lostPermille) {
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		if happens(corruptPermille) && n > 0 {
			b[chance.IntN(n)] ^= 1 << chance.IntN(8)
		}
		due := now.Add(pathDelay)
		if happens(reorderedPermille) {
			due = due.Add(time.Duration(chance.Int64N(int64(pathReorder))))
		}
		line.add(due, b)
		if happens(doubledPermille) {
			line.add(due.Add(time.Duration(chance.Int64N(int64(pathReorder)))), b)
		}
	}
}

// deliver sends datagrams to one side when they are due.
func (p *badPath) deliver(side int, line *delayLine) {
	for {
		b, ok := line.next()
		if !ok {
			return
		}
		if p.open.Load() {
			_, _ = p.doors[side].WriteToUDPAddrPort(b, p.sides[side]) // datagrams may be lost
			p.carried.Add(1)
		}
	}
}

// delayLine returns datagrams when they are due. Those due at the same time stay in
// order.
type delayLine struct {
	mu     sync.Mutex
	queue  dueQueue
	count  uint64
	closed bool
	wake   chan struct{}
}

type dueDatagram struct {
	at     time.Time
	number uint64
	data   []byte
}

func (l *delayLine) add(at time.Time, data []byte) {
	l.mu.Lock()
	l.count++
	heap.Push(&l.queue, dueDatagram{at, l.count, data})
	l.mu.Unlock()
	l.stir()
}

func (l *delayLine) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stir()
}

func (l *delayLine) stir() {
	select {
	case l.wake <- struct{}{}:
	default: // a wake-up is pending
	}
}

// next waits for the next datagram. It reports false after close.
func (l *delayLine) next() ([]byte, bool) {
	for {
		l.mu.Lock()
		closed, wait := l.closed, time.Hour
		if len(l.queue) > 0 {
			if wait = time.Until(l.queue[0].at); wait <= 0 {
				d := heap.Pop(&l.queue).(dueDatagram)
				l.mu.Unlock()
				return d.data, true
			}
		}
		l.mu.Unlock()
		if closed {
			return nil, false
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-l.wake:
		}
		timer.Stop()
	}
}

type dueQueue []dueDatagram

func (q dueQueue) Len() int      { return len(q) }
func (q dueQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q dueQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].number < q[j].number
	}
	return q[i].at.Before(q[j].at)
}
func (q *dueQueue) Push(x any) { *q = append(*q, x.(dueDatagram)) }
func (q *dueQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
