package bind

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// reopenAfter is the wait before a socket that failed again at once is opened again.
const reopenAfter = time.Second

// reopen replaces the socket, of which cause is the receive error: another program may
// have destroyed it, as ss -K does. It returns an error if the Bind is closed.
func (r *receiver) reopen(cause error) error {
	for told := false; ; {
		if r.failed && !r.rest() {
			return net.ErrClosed
		}
		r.failed = true
		s, err := r.bind.replace(r.sock)
		switch {
		case err == nil:
			r.sock = s
			r.bind.log.Warn("a UDP socket failed and was opened again", "port", s.port, "error", cause)
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case !told:
			told = true
			r.bind.log.Error("a UDP socket failed and can't be opened again: it is tried every second", "port", r.sock.port, "error", err)
		}
	}
}

// rest waits before the next attempt, and reports whether the Bind is open then.
func (r *receiver) rest() bool {
	again := time.NewTimer(reopenAfter)
	defer again.Stop()
	select {
	case <-r.closed:
		return false
	case <-again.C:
		return true
	}
}

// replace opens a socket in place of another one: with its port, and the mark.
func (b *Bind) replace(old *socket) (*socket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	network, at := "udp4", (*atomic.Pointer[socket])(nil)
	switch old {
	case b.v4.Load():
		at = &b.v4
	case b.v6.Load():
		network, at = "udp6", &b.v6
	default:
		return nil, net.ErrClosed
	}
	_ = old.close() // also by an earlier call: it has the port
	s, err := b.kernel.listen(network, old.port)
	if err != nil {
		return nil, err
	}
	if mark := b.mark.Load(); mark != 0 {
		if err := b.kernel.mark(s, mark); err != nil {
			_ = s.close()
			return nil, fmt.Errorf("mark %#x: %w", mark, err)
		}
	}
	at.Store(s)
	return s, nil
}
