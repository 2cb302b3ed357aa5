package splice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrIdle is returned for connections on which nothing moved for too long.
var ErrIdle = errors.New("nothing moved until the idle time-out")

// drainTime is how long the other direction may go on when data could not be delivered in
// one: it is for what the side that is gone had sent before.
const drainTime = 2 * time.Second

// halfCheck is how often a connection that has sent its end is tested for being gone, while
// the other direction goes on. Nothing is read from it any more, so no read tells.
const halfCheck = 30 * time.Second

// Counters count bytes while they are delivered. Joins may share them.
type Counters struct{ AToB, BToA atomic.Int64 }

// Join copies between a and b until both directions have ended, ctx ends, or nothing moved
// for idle (0: no limit). It closes both connections. One without CloseWrite is closed as
// soon as the other side has ended. Counters may be nil.
//
// The error is nil if both directions ended in order, and wraps [ErrIdle] or ctx's cause
// where they are the reason. Progress is noticed per buffer, so idle should be minutes.
func Join(ctx context.Context, a, b net.Conn, idle time.Duration, counters *Counters) error {
	if counters == nil {
		counters = new(Counters)
	}
	j := &join{idle: idle, start: time.Now()}
	j.toB.name, j.toB.join, j.toB.from, j.toB.to, j.toB.total = "first to second", j, a, b, &counters.AToB
	j.toA.name, j.toA.join, j.toA.from, j.toA.to, j.toA.total = "second to first", j, b, a, &counters.BToA
	for _, c := range []net.Conn{a, b} {
		_ = c.SetDeadline(time.Time{})
	}
	stop := context.AfterFunc(ctx, func() { j.abort(context.Cause(ctx)) })
	defer stop()
	if idle > 0 {
		j.watch()
	}
	var other sync.WaitGroup
	other.Go(j.toB.run)
	j.toA.run()
	other.Wait()
	return j.finish()
}

// join is the state of two joined connections.
type join struct {
	toA, toB direction
	idle     time.Duration
	start    time.Time
	last     atomic.Int64 // when something moved, since start

	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	half   *time.Timer // calls checkHalf
	ended  bool        // no reason is taken any more
	reason error       // the first: why the join did not end in order
}

// watch starts to look for idleness.
func (j *join) watch() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.timer = time.AfterFunc(j.idle, j.checkIdle)
}

func (j *join) checkIdle() {
	left := j.idle - (time.Since(j.start) - time.Duration(j.last.Load()))
	if left <= 0 {
		j.abort(ErrIdle)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.ended {
		j.timer.Reset(left)
	}
}

// watchHalf starts to test a connection that has sent its end.
func (j *join) watchHalf(c net.Conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.half == nil { // for the second end there is nothing left to watch
		j.half = time.AfterFunc(halfCheck, func() { j.checkHalf(c) })
	}
}

func (j *join) checkHalf(c net.Conn) {
	if err := broken(c); err != nil {
		j.abort(err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.ended {
		j.half.Reset(halfCheck)
	}
}

func (j *join) touch() {
	if j.idle > 0 {
		j.last.Store(int64(time.Since(j.start)))
	}
}

// fail remembers the first reason.
func (j *join) fail(reason error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.reason == nil && !j.ended {
		j.reason = reason
	}
}

// abort ends both directions at once.
func (j *join) abort(reason error) {
	j.fail(reason)
	Abort(j.toA.to)
	Abort(j.toB.to)
}

// finish closes both connections. One that has received everything is closed in order,
// the other is reset.
func (j *join) finish() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	for _, t := range []*time.Timer{j.timer, j.half} {
		if t != nil {
			t.Stop()
		}
	}
	for _, d := range []*direction{&j.toA, &j.toB} {
		if d.whole {
			_ = d.to.Close()
		} else {
			Abort(d.to)
		}
	}
	return j.reason
}

// direction copies one way.
type direction struct {
	name     string
	join     *join
	from, to net.Conn
	total    *atomic.Int64
	whole    bool        // everything up to the end was delivered
	stopped  atomic.Bool // the other direction has closed from
}

func (d *direction) run() {
	source := newSource(d.from)
	for {
		b, n, err := source.next()
		if n > 0 {
			d.join.touch()
			written, writeErr := d.to.Write((*b)[:n])
			d.join.touch()
			d.total.Add(int64(written))
			if writeErr != nil {
				source.release(b)
				d.undeliverable(writeErr)
				return
			}
		}
		source.release(b)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), d.stopped.Load():
			d.end()
			return
		default:
			d.join.abort(fmt.Errorf("%s: %w", d.name, err))
			return
		}
	}
}

// end passes on that nothing more comes. A connection without half-close is closed, since
// that alone tells its other side.
func (d *direction) end() {
	closeWrite := func() error {
		d.other().stopped.Store(true)
		return d.to.Close()
	}
	if half, ok := d.to.(interface{ CloseWrite() error }); ok {
		closeWrite = half.CloseWrite
	}
	if err := closeWrite(); err != nil {
		d.undeliverable(err)
		return
	}
	d.whole = true
	d.join.watchHalf(d.from)
}

func (d *direction) other() *direction {
	if d == &d.join.toA {
		return &d.join.toB
	}
	return &d.join.toA
}

// undeliverable gives the other direction a moment to deliver what is left: the side that
// takes nothing more may have answered before.
func (d *direction) undeliverable(err error) {
	d.join.fail(fmt.Errorf("%s: %w", d.name, err))
	until := time.Now().Add(drainTime)
	_ = d.to.SetReadDeadline(until)
	_ = d.from.SetWriteDeadline(until)
}

// Abort closes a connection without sending what is left, with a reset where its type can
// (SetLinger).
func Abort(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
}
