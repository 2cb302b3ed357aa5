package splice

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connected returns both ends of a kernel connection.
func connected(t testing.TB, network string) (a, b net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

type result struct {
	AToB, BToA int64
	err        error
}

// joined returns the outer ends of two connections that are joined.
func joined(t testing.TB, ctx context.Context, network string, idle time.Duration) (a, b net.Conn, done <-chan result) {
	t.Helper()
	a, innerA := connected(t, network)
	b, innerB := connected(t, network)
	ch := make(chan result, 1)
	go func() {
		var moved Counters
		err := Join(ctx, innerA, innerB, idle, &moved)
		ch <- result{moved.AToB.Load(), moved.BToA.Load(), err}
	}()
	return a, b, ch
}

func TestBothWaysAtOnce(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			a, b, done := joined(t, t.Context(), network, time.Minute)
			const size = 10 << 20
			var work sync.WaitGroup
			for _, c := range [][2]net.Conn{{a, b}, {b, a}} {
				data := make([]byte, size)
				_, _ = rand.Read(data)
				work.Go(func() {
					if _, err := c[0].Write(data); err != nil {
						t.Error(err)
					}
					_ = c[0].(interface{ CloseWrite() error }).CloseWrite()
				})
				work.Go(func() {
					got, err := io.ReadAll(c[1])
					if err != nil || !bytes.Equal(got, data) {
						t.Errorf("received %d bytes of %d, %v", len(got), len(data), err)
					}
				})
			}
			work.Wait()
			if r := <-done; r.err != nil || r.AToB != size || r.BToA != size {
				t.Errorf("joined: %+v", r)
			}
		})
	}
}

func TestHalfClose(t *testing.T) {
	a, b, done := joined(t, t.Context(), "tcp", 0)
	_, _ = a.Write([]byte("question"))
	_ = a.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(b); err != nil || string(got) != "question" {
		t.Fatalf("%q, %v", got, err)
	}
	_, _ = b.Write([]byte("answer"))
	_ = b.Close()
	if got, err := io.ReadAll(a); err != nil || string(got) != "answer" {
		t.Fatalf("%q, %v", got, err)
	}
	if r := <-done; r.err != nil || r.AToB != 8 || r.BToA != 6 {
		t.Errorf("joined: %+v", r)
	}
}

func TestReset(t *testing.T) {
	a, b, done := joined(t, t.Context(), "tcp", 0)
	_, _ = a.Write([]byte("x"))
	if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	Abort(a)
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other side reads %v", err)
	}
	if r := <-done; !errors.Is(r.err, syscall.ECONNRESET) {
		t.Errorf("joined: %v", r.err)
	}
}

// What a side sent before it stopped to read arrives.
func TestAnswerOfOneThatTakesNothing(t *testing.T) {
	a, b, done := joined(t, t.Context(), "unix", 0)
	if err := b.(*net.UnixConn).CloseRead(); err != nil {
		t.Fatal(err)
	}
	_, _ = b.Write([]byte("answer"))
	_ = b.(*net.UnixConn).CloseWrite()
	_, _ = a.Write([]byte("unwanted"))
	if got, err := io.ReadAll(a); string(got) != "answer" {
		t.Fatalf("%q, %v", got, err)
	}
	_ = a.Close()
	if r := <-done; r.BToA != 6 {
		t.Errorf("joined: %+v", r)
	}
}

func TestContextEnds(t *testing.T) {
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	a, b, done := joined(t, ctx, "tcp", 0)
	_, _ = a.Write([]byte("x"))
	if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel(why)
	if r := <-done; !errors.Is(r.err, why) || r.AToB != 1 {
		t.Errorf("joined: %+v", r)
	}
	for _, c := range []net.Conn{a, b} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
	}
}

// A side that reads nothing blocks its join alone, and the end of the context frees it.
func TestContextEndsWhileBlocked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a, _, done := joined(t, ctx, "tcp", 0)
	blocked := make(chan struct{})
	go func() {
		defer close(blocked)
		for {
			if _, err := a.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	runtime.Gosched()
	cancel()
	if r := <-done; !errors.Is(r.err, context.Canceled) {
		t.Errorf("joined: %v", r.err)
	}
	<-blocked
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, innerA := net.Pipe()
		b, innerB := net.Pipe()
		done := make(chan error, 1)
		start := time.Now()
		go func() {
			done <- Join(t.Context(), innerA, innerB, time.Minute, nil)
		}()
		time.Sleep(50 * time.Second)
		go func() { _, _ = b.Write([]byte("x")) }()
		_, _ = io.ReadFull(a, make([]byte, 1))
		if err := <-done; !errors.Is(err, ErrIdle) {
			t.Errorf("joined: %v", err)
		}
		if got := time.Since(start); got != 110*time.Second {
			t.Errorf("ended after %v", got)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read: %v", err)
		}
	})
}

func TestBroken(t *testing.T) {
	a, b := connected(t, "tcp")
	_ = a.(*net.TCPConn).CloseWrite()
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := broken(b); err != nil {
		t.Errorf("half-closed: %v", err)
	}
	Abort(a)
	if err := broken(b); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}
	_ = b.Close()
	if err := broken(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// halfClosed has sent its end, and says after an hour that it is gone.
type halfClosed struct {
	net.Conn
	until time.Time
}

func (halfClosed) Read([]byte) (int, error) { return 0, io.EOF }
func (halfClosed) CloseWrite() error        { return nil }

func (c halfClosed) Broken() error {
	if time.Now().Before(c.until) {
		return nil
	}
	return syscall.ECONNRESET
}

// open is a connection that can be half-closed.
type open struct{ net.Conn }

func (open) CloseWrite() error { return nil }

// A connection that sent its end and then goes away ends the join.
func TestHalfClosedIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := net.Pipe()
		_, b := net.Pipe()
		start := time.Now()
		err := Join(t.Context(), halfClosed{a, start.Add(time.Hour)}, open{b}, 0, nil)
		if !errors.Is(err, syscall.ECONNRESET) || time.Since(start) < time.Hour || time.Since(start) > time.Hour+halfCheck {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A connection without half-close is closed when the other side ends.
func TestWithoutHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, innerA := net.Pipe()
		b, innerB := net.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- Join(t.Context(), innerA, innerB, 0, nil)
		}()
		go func() { _, _ = b.Write([]byte("all")); _ = b.Close() }()
		if got, err := io.ReadAll(a); err != nil || string(got) != "all" {
			t.Errorf("%q, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Errorf("joined: %v", err)
		}
	})
}

func TestCounters(t *testing.T) {
	var counters Counters
	a, innerA := connected(t, "tcp")
	b, innerB := connected(t, "tcp")
	done := make(chan error, 1)
	go func() {
		done <- Join(t.Context(), innerA, innerB, 0, &counters)
	}()
	_, _ = a.Write([]byte("hello"))
	if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	_ = a.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if to, from := counters.AToB.Load(), counters.BToA.Load(); to != 5 || from != 0 {
		t.Errorf("counted %d and %d", to, from)
	}
}

// Idle joins of sockets hold no buffers.
func TestIdleMemory(t *testing.T) {
	const joins = 200
	ctx, cancel := context.WithCancel(t.Context())
	var all []<-chan result
	before := stackAndHeap()
	for range joins {
		a, b, done := joined(t, ctx, "tcp", time.Hour)
		_, _ = a.Write([]byte("x"))
		_, _ = io.ReadFull(b, make([]byte, 1))
		all = append(all, done)
	}
	if each := (stackAndHeap() - before) / joins; each > smallBuffer {
		t.Errorf("an idle join takes %d bytes", each)
	}
	cancel()
	for _, done := range all {
		<-done
	}
}

func stackAndHeap() int64 {
	runtime.GC()
	runtime.GC() // the second empties pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func BenchmarkJoin(b *testing.B) {
	for _, network := range []string{"tcp", "unix"} {
		b.Run(network, func(b *testing.B) {
			left, right, done := joined(b, b.Context(), network, time.Minute)
			block := make([]byte, 64<<10)
			b.SetBytes(int64(len(block)))
			b.ReportAllocs()
			go func() {
				for range b.N {
					_, _ = left.Write(block)
				}
				_ = left.Close()
			}()
			if n, err := io.Copy(io.Discard, right); n != int64(b.N*len(block)) {
				b.Errorf("received %d bytes, %v", n, err)
			}
			_ = right.Close()
			<-done
		})
	}
}

// BenchmarkShort is the cost of a join itself.
func BenchmarkShort(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		_, inner := net.Pipe()
		far, other := net.Pipe()
		_ = far.Close()
		_ = Join(b.Context(), inner, other, time.Minute, nil)
	}
}
