package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// headConn is a client's connection as net/http reads it. It passes on a head only when
// the whole is there and checkHead has nothing against it, and then no more than the body
// that belongs to it. So there are no two opinions on where a request ends. In place of a
// head that is refused, net/http sees refusedHead, whose handler finds the reason in refused.
//
// Reads are net/http's: one at a time. Other methods may be called meanwhile.
type headConn struct {
	*client
	limits  Limits
	moved   func(up, down int)
	refused atomic.Pointer[refusal]

	in      []byte // read, and not passed on yet
	scanned int    // of in: lines of a head that is not complete
	ready   int    // of in: bytes that are checked
	body    int64  // bytes to pass on before the next head
	last    bool   // no head follows: pass on everything
	ended   bool   // nothing follows
	closed  sync.Once

	mu     sync.Mutex // guards what follows
	asked  time.Time  // net/http's read deadline
	byHead time.Time  // when a head must be complete, once it has begun
	idle   *time.Timer
}

const (
	refusedHost = "refused.invalid"
	refusedHead = "GET / HTTP/1.1\r\nHost: " + refusedHost + "\r\nConnection: close\r\n\r\n"
)

// newHeadConn starts with a byte that was read already.
func (v *service) newHeadConn(c *client, first byte) *headConn {
	h := &headConn{client: c, limits: v.limits, in: []byte{first}}
	h.moved = func(up, down int) {
		v.counters.moved.AToB.Add(int64(up))
		v.counters.moved.BToA.Add(int64(down))
		if h.idle != nil && up+down > 0 {
			h.idle.Reset(h.limits.Idle)
		}
	}
	if h.limits.Idle > 0 {
		h.idle = time.AfterFunc(h.limits.Idle, func() { _ = c.Conn.Close() })
	}
	h.byHead = time.Now().Add(h.limits.Handshake)
	h.moved(1, 0)
	return h
}

// Read implements net.Conn.
func (h *headConn) Read(p []byte) (int, error) {
	for h.ready == 0 && h.body == 0 && !h.last {
		if h.ended {
			return 0, io.EOF
		}
		if err := h.readHead(); err != nil {
			return 0, err
		}
	}
	if h.ready > 0 {
		n := copy(p, h.in[:h.ready])
		h.in, h.ready = h.in[n:], h.ready-n
		return n, nil
	}
	if h.body > 0 && int64(len(p)) > h.body {
		p = p[:h.body]
	}
	n, err := h.readBody(p)
	if h.body > 0 {
		h.body -= int64(n)
	}
	return n, err
}

func (h *headConn) readBody(p []byte) (int, error) {
	if len(h.in) > 0 {
		n := copy(p, h.in)
		h.in = h.in[n:]
		return n, nil
	}
	h.in = nil
	n, err := h.Conn.Read(p)
	h.moved(n, 0)
	return n, err
}

// readHead reads until a head is complete, and checks it. After an error it can go on.
func (h *headConn) readHead() error {
	for {
		end, refused := h.findHead()
		if refused == nil && end == 0 && len(h.in) >= h.limits.HeaderBytes {
			refused = &refusal{http.StatusRequestHeaderFieldsTooLarge, "the head of the request is too large"}
		}
		if refused != nil || end > 0 {
			h.setHeadDeadline(time.Time{})
			h.scanned = 0
			h.admit(end, refused)
			return nil
		}
		if cap(h.in)-len(h.in) < firstHeadRead/4 {
			h.in = append(make([]byte, 0, max(firstHeadRead, 2*len(h.in))), h.in...)
		}
		space := h.in[len(h.in):cap(h.in)]
		n, err := h.Conn.Read(space)
		if n > 0 && len(h.in) == 0 {
			h.setHeadDeadline(time.Now().Add(h.limits.Handshake))
		}
		h.in = h.in[:len(h.in)+n]
		h.moved(n, 0)
		if err != nil && n == 0 {
			return err
		}
	}
}

// findHead looks for the empty line that ends a head, and returns where that is. Empty
// lines before the head are removed.
func (h *headConn) findHead() (end int, refused *refusal) {
	for {
		n := bytes.IndexByte(h.in[h.scanned:], '\n')
		if n < 0 {
			return 0, nil
		}
		line := h.in[h.scanned : h.scanned+n]
		switch {
		case !bytes.HasSuffix(line, []byte("\r")):
			return 0, malformed("a line ends with LF alone")
		case len(line) > 1:
			h.scanned += n + 1
		case h.scanned > 0:
			return h.scanned + n + 1, nil
		default:
			h.in = h.in[n+1:]
		}
	}
}

// admit prepares what net/http is to see of a head that ends at end, or is refused.
func (h *headConn) admit(end int, refused *refusal) {
	var f framing
	if refused == nil {
		f, refused = checkHead(h.in[:end])
	}
	switch {
	case refused != nil:
		h.refused.Store(refused)
		h.in, h.ready, h.ended = []byte(refusedHead), len(refusedHead), true
		return
	case f.last:
		closing := "Connection: close\r\n\r\n"
		rest := h.in[end:]
		h.in = append(append(append([]byte{}, h.in[:end-2]...), closing...), rest...)
		end += len(closing) - 2
	}
	h.ready, h.body, h.last = end, f.body, f.last
}

// Write implements net.Conn.
func (h *headConn) Write(p []byte) (int, error) {
	n, err := h.Conn.Write(p)
	h.moved(0, n)
	return n, err
}

// CloseWrite ends the direction to the client, if the connection can do that.
func (h *headConn) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return h.Close()
}

// Close implements net.Conn. It lets the last reply arrive.
func (h *headConn) Close() error {
	h.closed.Do(func() {
		h.stopIdle()
		h.linger()
		h.release()
	})
	return nil
}

// detach returns the connection itself and what was read of it already. Nothing is read
// through h any more.
func (h *headConn) detach() (*client, []byte) {
	h.stopIdle()
	_ = h.Conn.SetDeadline(time.Time{})
	return h.client, h.in
}

func (h *headConn) stopIdle() {
	if h.idle != nil {
		h.idle.Stop()
	}
}

// SetReadDeadline implements net.Conn. The deadline of a head counts as well.
func (h *headConn) SetReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = t
	return h.applyDeadline()
}

func (h *headConn) setHeadDeadline(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byHead = t
	_ = h.applyDeadline()
}

func (h *headConn) applyDeadline() error {
	first := h.asked
	if first.IsZero() || !h.byHead.IsZero() && h.byHead.Before(first) {
		first = h.byHead
	}
	return h.Conn.SetReadDeadline(first)
}

// SetDeadline implements net.Conn.
func (h *headConn) SetDeadline(t time.Time) error {
	if err := h.SetReadDeadline(t); err != nil {
		return err
	}
	return h.SetWriteDeadline(t)
}

// unreading is a ResponseWriter whose Hijack leaves nothing behind in net/http's buffer:
// httputil would lose what the client has sent early.
type unreading struct {
	http.ResponseWriter
	conn    *headConn
	expects bool // the client waits for 100 Continue
}

// WriteHeader leaves 100 Continue to net/http if the client waits for it. With that response
// of the server the transport begins to read the body, and net/http sends it then; httputil
// would do so at the same time, and the client could get two.
func (u unreading) WriteHeader(status int) {
	if status != http.StatusContinue || !u.expects {
		u.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap is for http.ResponseController.
func (u unreading) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// Hijack implements http.Hijacker.
func (u unreading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err == nil {
		early, _ := buffered.Peek(buffered.Reader.Buffered())
		u.conn.in = append(bytes.Clone(early), u.conn.in...)
	}
	return conn, buffered, err
}

// handoff is the listener that net/http takes its connections from.
type handoff struct {
	conns chan net.Conn
	done  <-chan struct{}
	addr  net.Addr
}

func newHandoff(ctx context.Context, addr net.Addr) handoff {
	return handoff{make(chan net.Conn), ctx.Done(), addr}
}

// give waits until net/http takes the connection, and reports whether it did.
func (l handoff) give(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

// Accept implements net.Listener.
func (l handoff) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The listener ends with its context.
func (l handoff) Close() error { return nil }

// Addr implements net.Listener.
func (l handoff) Addr() net.Addr { return l.addr }
