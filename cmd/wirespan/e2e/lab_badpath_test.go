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

// badPath carries datagrams between two sides as bad networks do: it loses,
// doubles, corrupts, delays and reorders them. It has one door for each side,
// to which that side sends and from which it hears.
type badPath struct {
	doors [2]*net.UDPConn
	sides [2]netip.AddrPort // where doors deliver to
	open  atomic.Bool       // otherwise it is a black hole
	ended sync.WaitGroup

	carried atomic.Uint64
}

// What happens to how many of 1,000 datagrams.
const (
	lostPermille      = 10
	doubledPermille   = 10
	reorderedPermille = 30
	corruptPermille   = 2
)

const (
	pathDelay   = 10 * time.Millisecond
	pathReorder = 15 * time.Millisecond // more, at most, for those that others overtake
	// Every pathSilence for pathSilent nothing passes at all.
	pathSilence = time.Minute
	pathSilent  = 2 * time.Second
)

// badPath makes a path through the host h.
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
		_ = p.doors[i].SetReadBuffer(1 << 20) // as much as is allowed
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

// door is where side 0 or 1 finds the other.
func (p *badPath) door(side int) netip.AddrPort {
	return p.doors[side].LocalAddr().(*net.UDPAddr).AddrPort()
}

// take reads what one side sends, and decides what becomes of it.
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

// deliver hands one side what is due.
func (p *badPath) deliver(side int, line *delayLine) {
	for {
		b, ok := line.next()
		if !ok {
			return
		}
		if p.open.Load() {
			_, _ = p.doors[side].WriteToUDPAddrPort(b, p.sides[side]) // loss is allowed
			p.carried.Add(1)
		}
	}
}

// delayLine returns datagrams when they are due; those due at once, in order.
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
	default: // it is awake
	}
}

// next waits for the next datagram; none comes after close.
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
