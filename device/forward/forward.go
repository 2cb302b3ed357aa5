package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/device/splice"
)

// A listener that can't be opened is tried again after retryMin, and then at doubled
// intervals up to retryMax.
const (
	retryMin = time.Second
	retryMax = 15 * time.Second
)

// A listener that fails to accept is asked again after acceptPause, and then at doubled
// intervals. After acceptFailures in a row it is opened anew.
const (
	acceptPause    = 10 * time.Millisecond
	acceptFailures = 8
)

// warnPause is the least time between warnings about one forward's target.
const warnPause = time.Minute

// forward is one forward that runs.
type forward struct {
	spec      Spec
	cfg       *Config
	endpoints []endpoint
	allowed   allowList
	stop      context.CancelFunc
	ended     chan struct{} // closed when all goroutines have ended
	joins     sync.WaitGroup

	connections atomic.Int64 // now
	pending     atomic.Int64 // of those: for which the target is dialled
	bytes       splice.Counters

	accepted, denied, refused, failed atomic.Uint64

	mu        sync.Mutex // guards what follows
	listeners map[*endpoint]*listener
	anew      chan struct{} // closed by reset
	warned    time.Time     // when it was logged last that a target could not be reached
}

// listener is the state of an endpoint.
type listener struct {
	server server // nil: not open
	err    error  // why it is not open
}

// server is an open listener. serve returns when it is closed or broken.
type server interface {
	io.Closer
	serve(ctx context.Context)
	reset()
}

func start(ctx context.Context, s Spec, cfg *Config) *forward {
	ctx, stop := context.WithCancel(ctx)
	w := &forward{
		spec: s, cfg: cfg, endpoints: s.endpoints(), allowed: newAllowList(s.Allow, cfg.Names),
		stop: stop, ended: make(chan struct{}), anew: make(chan struct{}), listeners: map[*endpoint]*listener{},
	}
	var work sync.WaitGroup
	for i := range w.endpoints {
		w.listeners[&w.endpoints[i]] = new(listener)
	}
	for i := range w.endpoints {
		work.Go(func() { w.keepOpen(ctx, &w.endpoints[i]) })
	}
	go func() {
		work.Wait()
		w.joins.Wait()
		stop()
		close(w.ended)
	}()
	return w
}

// keepOpen keeps an endpoint open until ctx ends.
func (w *forward) keepOpen(ctx context.Context, e *endpoint) {
	retry := retryMin
	for ctx.Err() == nil {
		w.mu.Lock()
		anew := w.anew
		w.mu.Unlock()
		s, err := w.open(ctx, e)
		if err == nil {
			retry = retryMin
			w.run(ctx, e, s, anew)
			continue
		}
		if e.optional && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			w.mu.Lock()
			delete(w.listeners, e)
			w.mu.Unlock()
			return
		}
		w.report(e, nil, err)
		select {
		case <-ctx.Done():
		case <-anew:
			retry = retryMin
		case <-time.After(retry):
			retry = min(2*retry, retryMax)
		}
	}
}

func (w *forward) open(ctx context.Context, e *endpoint) (server, error) {
	if w.spec.UDP {
		var pc net.PacketConn
		var err error
		if w.spec.Kind == Mesh {
			pc, err = w.cfg.Mesh.ListenPacket(e.port)
		} else {
			pc, err = w.cfg.Host.ListenPacket(ctx, e.network, e.address)
		}
		if err != nil {
			return nil, err
		}
		return newTable(w, e, pc), nil
	}
	var l net.Listener
	var err error
	if w.spec.Kind == Mesh {
		l, err = w.cfg.Mesh.Listen(e.port)
	} else {
		l, err = w.cfg.Host.Listen(ctx, e.network, e.address)
	}
	if err != nil {
		return nil, err
	}
	return &streams{Listener: l, forward: w, endpoint: e}, nil
}

// run serves an endpoint until ctx ends or the server is closed or broken. anew was closed
// if the data plane was replaced since before the server was opened.
func (w *forward) run(ctx context.Context, e *endpoint, s server, anew <-chan struct{}) {
	w.report(e, s, nil)
	select {
	case <-anew:
		s.reset()
	default:
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	s.serve(ctx)
	stop()
	_ = s.Close()
	w.report(e, nil, nil)
}

// report stores the state of an endpoint.
func (w *forward) report(e *endpoint, s server, err error) {
	w.mu.Lock()
	l := w.listeners[e]
	news := (err == nil) != (l.err == nil) || err != nil && err.Error() != l.err.Error()
	l.server, l.err = s, err
	w.mu.Unlock()
	if news {
		w.cfg.Changed()
	}
}

// reset is for a data plane that was replaced.
func (w *forward) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.anew)
	w.anew = make(chan struct{})
	for _, l := range w.listeners {
		if l.server != nil {
			l.server.reset()
		}
	}
}

// limit returns how many connections or associations there may be.
func (w *forward) limit() int64 {
	if w.spec.UDP {
		return int64(w.cfg.MaxAssociations)
	}
	return int64(w.cfg.MaxConnections)
}

// take counts a new connection or association. It reports false if that is one too many.
func (w *forward) take() bool {
	if w.connections.Add(1) > w.limit() {
		w.connections.Add(-1)
		return false
	}
	if w.pending.Add(1) > int64(w.cfg.MaxPending) {
		w.pending.Add(-1)
		w.connections.Add(-1)
		return false
	}
	w.accepted.Add(1)
	return true
}

// dial connects to the target of a connection that was taken.
func (w *forward) dial(ctx context.Context, e *endpoint) (net.Conn, error) {
	defer w.pending.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, w.cfg.DialTimeout)
	defer cancel()
	dial := w.cfg.Host.DialContext
	if w.spec.Kind == Local {
		dial = w.cfg.Mesh.DialContext
	}
	c, err := dial(ctx, e.targetNetwork, e.target)
	if err != nil {
		w.unreachable(err)
	}
	return c, err
}

// unreachable counts a target that could not be reached. Clients, who may be many, see a
// reset only, so it is logged once in a while.
func (w *forward) unreachable(err error) {
	w.failed.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.warned) >= warnPause {
		w.warned = now
		w.cfg.Log.Warn("the target of a forward can't be reached", "forward", w.spec.Name, "error", err)
	}
}

func (w *forward) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{
		Name: w.spec.Name, Listeners: len(w.listeners), Connections: int(w.connections.Load()),
		Counters: Counters{
			Accepted: w.accepted.Load(), Denied: w.denied.Load(), Refused: w.refused.Load(), Failed: w.failed.Load(),
			ToTarget: w.bytes.AToB.Load(), FromTarget: w.bytes.BToA.Load(),
		},
	}
	for _, l := range w.listeners {
		switch {
		case l.server != nil:
			s.Listening++
		case l.err != nil:
			s.Err = l.err
		}
	}
	return s
}

// retryable waits before a listener that failed is asked again. It reports false if that
// is closed, or has failed too often.
func retryable(ctx context.Context, err error, failures int) bool {
	if errors.Is(err, net.ErrClosed) || failures > acceptFailures {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(acceptPause << failures):
		return true
	}
}
