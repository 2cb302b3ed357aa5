package http1

import (
	"bufio"
	"context"
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	grace       = time.Second            // that requests have to end when the server stops
	lingerTime  = 500 * time.Millisecond // until a client has closed its side after the answer
	acceptPause = 100 * time.Millisecond // after an accept that failed
)

// Server answers requests.
type Server struct {
	Handler     Handler
	HeadTime    time.Duration // within which a request comes
	Time        time.Duration // of a request with its answer; 0: no limit
	Connections int           // at once; others wait. 0: as many as the listener accepts
	Log         hclog.Logger
}

// Serve answers requests until ctx is done, and returns when all have ended. It closes the
// listener. A listener that was closed before is an error.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late, closeAll := context.WithCancel(context.WithoutCancel(ctx))
	defer closeAll()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var all sync.WaitGroup
	err := s.accept(ctx, l, func(conn net.Conn, done func()) {
		all.Go(func() {
			defer done()
			defer context.AfterFunc(late, func() { _ = conn.Close() })()
			s.serve(ctx, conn)
		})
	})
	cancel()
	defer time.AfterFunc(grace, closeAll).Stop()
	all.Wait()
	if outer.Err() != nil {
		return nil
	}
	return err
}

// accept hands on connections until the listener is closed. It survives other failures: the
// process may be out of files, say.
func (s *Server) accept(ctx context.Context, l net.Listener, serve func(conn net.Conn, done func())) error {
	open := newSlots(s.Connections)
	for open.take(ctx) {
		conn, err := l.Accept()
		switch {
		case err == nil:
			serve(conn, open.release)
			continue
		case errors.Is(err, net.ErrClosed):
			return err
		}
		open.release()
		s.Log.Debug("accept", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(acceptPause):
		}
	}
	return ctx.Err()
}

// slots are those of connections; nil: no limit.
type slots chan struct{}

func newSlots(n int) slots {
	if n == 0 {
		return nil
	}
	return make(slots, n)
}

// take waits for a slot, and reports whether there is one before ctx is done.
func (s slots) take(ctx context.Context) bool {
	if s == nil {
		return true
	}
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s slots) release() {
	if s != nil {
		<-s
	}
}

// serve answers one request and closes the connection.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("a request failed", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if s.Time > 0 {
		_ = conn.SetWriteDeadline(time.Now().Add(s.Time))
	}
	in := bufio.NewReader(conn)
	w := NewResponse(conn)
	stopping := context.AfterFunc(ctx, func() { _ = conn.Close() }) // nothing is lost
	_ = conn.SetReadDeadline(time.Now().Add(s.HeadTime))
	r, err := readRequest(in, conn)
	if !stopping() {
		return
	}
	if err == nil {
		r.Conn = conn
		s.answer(ctx, w, r, in)
	} else if say := refusalOf(err); say != nil {
		w.Error(say.text, say.code)
	} else {
		return
	}
	if w.taken || w.Flush() != nil {
		return
	}
	linger(conn, in)
}

// answer has a request answered. Until then the connection is watched: a client that closes it
// no longer waits for the answer.
func (s *Server) answer(ctx context.Context, w *Response, r *Request, in *bufio.Reader) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var until time.Time
	if s.Time > 0 {
		until = time.Now().Add(s.Time)
	}
	_ = r.Conn.SetReadDeadline(until)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if r.Method != MethodConnect {
			discard(in)
			cancel()
		} else if _, err := in.Peek(1); err != nil { // what comes early is for the tunnel
			cancel()
		}
	}()
	w.unwatch = sync.OnceFunc(func() {
		_ = r.Conn.SetReadDeadline(time.Unix(1, 0))
		<-watched
		_ = r.Conn.SetReadDeadline(time.Time{})
	})
	defer w.unwatch()
	w.bare, w.conn, w.tunnel = r.Method == MethodHead, r.Conn, in
	s.Handler(ctx, w, r)
}

// linger ends the answer, and waits for a moment until the client has closed its side: what it
// sent and nobody read would reset the connection before the client has read the answer.
func linger(conn net.Conn, in *bufio.Reader) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(lingerTime))
	discard(in)
}

// discard reads until the connection ends.
func discard(in *bufio.Reader) {
	for {
		if _, err := in.Discard(max(1, in.Buffered())); err != nil {
			return
		}
	}
}
