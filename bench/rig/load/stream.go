package load

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	writeSize = 128 << 10
	pacedSize = 32 << 10
	readSize  = 64 << 10
)

// meter counts the bytes of any number of streams. newMeter makes one.
type meter struct {
	bytes   atomic.Uint64
	started chan struct{} // closed at the first byte
}

func newMeter() *meter { return &meter{started: make(chan struct{})} }

func (m *meter) add(n int) {
	if n > 0 && m.bytes.Add(uint64(n)) == uint64(n) {
		close(m.started)
	}
}

// window counts bytes for span, which starts when warmup has passed since the
// first byte. It returns early, with false, when ctx ends.
func (m *meter) window(ctx context.Context, warmup, span time.Duration) (result, bool) {
	select {
	case <-m.started:
	case <-ctx.Done():
		return result{}, false
	}
	if !pause(ctx, warmup) {
		return result{}, false
	}
	bytes, from := m.bytes.Load(), time.Now()
	if !pause(ctx, span) {
		return result{}, false
	}
	return result{Window: m.bytes.Load() - bytes, Span: time.Since(from)}, true
}

// pause waits for d. It returns early, with false, when ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// drain reads a stream to its end.
func (m *meter) drain(c net.Conn) error {
	buf := make([]byte, readSize)
	for {
		n, err := c.Read(buf)
		m.add(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// fill writes to a stream for the time d, at rate bit/s unless that is zero. It
// returns when the receiver has received everything.
func fill(c net.Conn, payload []byte, d time.Duration, rate float64) error {
	start := time.Now()
	if rate > 0 {
		payload = payload[:pacedSize]
	}
	for sent := 0; ; {
		elapsed := time.Since(start)
		if elapsed >= d {
			break
		}
		if rate > 0 {
			if due := time.Duration(float64(sent) * 8 / rate * float64(time.Second)); due > elapsed {
				time.Sleep(due - elapsed)
			}
		}
		n, err := c.Write(payload)
		if err != nil {
			return err
		}
		sent += n
	}
	if err := closeWrite(c); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil { // until the receiver closes
		return err
	}
	return nil
}

// streams is one side's share of a TCP test.
type streams struct {
	test      test
	send      []net.Conn
	receive   []net.Conn
	rate      float64 // of all that this side sends together, bit/s; 0: no limit
	receivers *meter
	resent    atomic.Uint64
	uncounted atomic.Bool // a stream did not report its retransmits
}

// run sends and receives all streams and returns what this side counted. The first
// error ends all streams.
func (s *streams) run(ctx context.Context) (result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { closeAll(s.send, s.receive) })
	defer stop()
	payload := make([]byte, writeSize)
	var moving, watching sync.WaitGroup
	for _, c := range s.send {
		moving.Go(func() {
			if err := fill(c, payload, s.test.planned(), s.rate/float64(len(s.send))); err != nil {
				cancel(err)
			}
			s.count(c)
		})
	}
	for _, c := range s.receive {
		moving.Go(func() {
			if err := s.receivers.drain(c); err != nil {
				cancel(err)
			}
			_ = c.Close() // fill at the sender waits for this
		})
	}
	var r result
	whole := true
	if len(s.receive) > 0 {
		watching.Go(func() { r, whole = s.receivers.window(ctx, s.test.Warmup, s.test.Window) })
	}
	moving.Wait()
	if ctx.Err() == nil && len(s.receive) > 0 && s.receivers.bytes.Load() == 0 {
		cancel(errors.New("the streams ended before any data arrived"))
	}
	watching.Wait()
	if !whole {
		return result{}, context.Cause(ctx)
	}
	if err := context.Cause(ctx); err != nil {
		return result{}, err
	}
	r.Bytes, r.Retransmits = s.receivers.bytes.Load(), s.resent.Load()
	r.Counted = len(s.send) > 0 && !s.uncounted.Load()
	return r, nil
}

// count adds the retransmits of a stream that was sent.
func (s *streams) count(c net.Conn) {
	n, ok := retransmits(c)
	s.resent.Add(n)
	if !ok {
		s.uncounted.Store(true)
	}
}

func closeAll(lists ...[]net.Conn) {
	for _, list := range lists {
		for _, c := range list {
			_ = c.Close()
		}
	}
}
