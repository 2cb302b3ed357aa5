package forward

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/device/splice"
)

const (
	// maxWaiting and maxWaitingBytes bound the datagrams of an association that wait until
	// the target's name is resolved and its socket is open.
	maxWaiting      = 16
	maxWaitingBytes = maxDatagram
	// evictIdle is how long an association has been idle before another may take its
	// place.
	evictIdle = 10 * time.Second
	// dnsIdle is enough for a question and its answer.
	dnsIdle = 10 * time.Second
	dnsPort = 53
)

// table holds the associations of a UDP socket that clients send to.
type table struct {
	net.PacketConn
	forward  *forward
	endpoint *endpoint
	idle     time.Duration
	start    time.Time
	work     sync.WaitGroup

	mu       sync.Mutex // guards what follows
	byClient map[netip.AddrPort]*association
}

// association is a client's socket towards the target.
type association struct {
	table  *table
	client netip.AddrPort
	reply  net.Addr // client, as the socket gave it
	cancel context.CancelFunc
	timer  *time.Timer  // calls checkIdle; guarded by the table's mu
	last   atomic.Int64 // when something passed, since the table's start

	mu      sync.Mutex // guards what follows
	target  net.Conn   // nil: not open yet
	waiting [][]byte
	held    int // bytes of waiting
}

func newTable(w *forward, e *endpoint, pc net.PacketConn) *table {
	idle := w.cfg.UDPIdleTimeout
	if w.spec.TargetPort == dnsPort {
		idle = min(idle, dnsIdle)
	}
	return &table{PacketConn: pc, forward: w, endpoint: e, idle: idle, start: time.Now(), byClient: map[netip.AddrPort]*association{}}
}

// serve delivers datagrams of clients. It ends with its associations.
func (t *table) serve(ctx context.Context) {
	defer t.work.Wait()
	defer t.endAll()
	failures := 0
	for {
		err := splice.WaitReadable(t.PacketConn)
		if err == nil {
			err = t.receive(ctx)
		}
		if err == nil {
			failures = 0
		} else if failures++; !retryable(ctx, err, failures) {
			return
		}
	}
}

func (t *table) receive(ctx context.Context) error {
	buffer := datagrams.Get().(*datagram)
	defer datagrams.Put(buffer)
	n, from, err := t.ReadFrom(buffer[:])
	if err != nil {
		return err
	}
	if a := t.associate(ctx, from); a != nil {
		a.send(buffer[:n])
	}
	return nil
}

// reset ends the associations, and for a socket on the mesh the table.
func (t *table) reset() {
	t.endAll()
	if t.forward.spec.Kind == Mesh {
		_ = t.Close()
	}
}

func (t *table) endAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.byClient {
		t.remove(a)
	}
}

// remove ends an association. t.mu is held.
func (t *table) remove(a *association) {
	if t.byClient[a.client] == a {
		delete(t.byClient, a.client)
		t.forward.connections.Add(-1)
	}
	a.timer.Stop()
	a.cancel()
}

// associate returns the association of a client. It returns nil if the client may not have
// one.
func (t *table) associate(ctx context.Context, from net.Addr) *association {
	client := addrPort(from)
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.byClient[client]; a != nil {
		return a
	}
	w := t.forward
	switch {
	case !client.IsValid():
		return nil
	case !w.allowed.allows(from):
		w.denied.Add(1)
		return nil
	case !w.take() && (!t.evict() || !w.take()):
		w.refused.Add(1)
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &association{table: t, client: client, reply: from, cancel: cancel}
	a.touch()
	a.timer = time.AfterFunc(t.idle, a.checkIdle)
	t.byClient[client] = a
	t.work.Go(func() { a.run(ctx) })
	return a
}

// evict makes room for an association, if room is what is missing: it ends the one that
// has been idle longest, if that is long enough. t.mu is held.
func (t *table) evict() bool {
	if t.forward.connections.Load() < t.forward.limit() {
		return false
	}
	var oldest *association
	for _, a := range t.byClient {
		if oldest == nil || a.last.Load() < oldest.last.Load() {
			oldest = a
		}
	}
	if oldest == nil || oldest.idleFor() < evictIdle {
		return false
	}
	t.remove(oldest)
	return true
}

func (a *association) touch() { a.last.Store(int64(time.Since(a.table.start))) }

func (a *association) idleFor() time.Duration {
	return time.Since(a.table.start) - time.Duration(a.last.Load())
}

// send sends a datagram of the client. UDP sockets do not wait for a slow reader.
func (a *association) send(p []byte) {
	a.touch()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.target == nil {
		if len(a.waiting) == maxWaiting || a.held+len(p) > maxWaitingBytes {
			a.table.forward.refused.Add(1)
			return
		}
		a.held += len(p)
		a.waiting = append(a.waiting, bytes.Clone(p))
		return
	}
	a.write(p)
}

// write sends to the target. Errors are those of earlier datagrams, and reach run, too.
func (a *association) write(p []byte) {
	n, _ := a.target.Write(p)
	a.table.forward.bytes.AToB.Add(int64(n))
}

// run opens the socket towards the target, and returns what the target sends to the
// client, until the association ends.
func (a *association) run(ctx context.Context) {
	defer func() {
		a.table.mu.Lock()
		defer a.table.mu.Unlock()
		a.table.remove(a)
	}()
	target, err := a.table.forward.dial(ctx, a.table.endpoint)
	if err != nil {
		return
	}
	defer target.Close()
	stop := context.AfterFunc(ctx, func() { _ = target.Close() })
	defer stop()
	a.opened(target)
	for err == nil {
		if err = splice.WaitReadable(target); err == nil {
			err = a.receive(target)
		}
	}
}

func (a *association) receive(target net.Conn) error {
	buffer := datagrams.Get().(*datagram)
	defer datagrams.Put(buffer)
	n, err := target.Read(buffer[:])
	if err != nil {
		return err
	}
	a.touch()
	n, _ = a.table.WriteTo(buffer[:n], a.reply)
	a.table.forward.bytes.BToA.Add(int64(n))
	return nil
}

// opened sends what was waiting for the socket.
func (a *association) opened(target net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = target
	for _, p := range a.waiting {
		a.write(p)
	}
	a.waiting = nil
}

// checkIdle ends the association if it is idle, or looks again later.
func (a *association) checkIdle() {
	a.table.mu.Lock()
	defer a.table.mu.Unlock()
	if a.table.byClient[a.client] != a {
		return
	}
	if left := a.table.idle - a.idleFor(); left > 0 {
		a.timer.Reset(left)
		return
	}
	a.table.remove(a)
}
