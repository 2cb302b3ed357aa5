package kubernetes

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"k8s.io/klog/v2"

	"github.com/wirespan/wirespan/discovery"
)

// errMoved ends a session that does not get through, since it may now.
var errMoved = errors.New("the addresses of this host have changed")

// Run follows the API and publishes to it until ctx is cancelled, which is not an error. It
// returns when all its goroutines have ended. It must be called only once.
func (c *Client) Run(ctx context.Context) error {
	ctx = silent(ctx)
	t := newTracker(c.cluster(), c.cfg.AffiliateID)
	p := &publisher{c: c}
	var wait backoff
	for {
		connected, err := c.session(ctx, t, p)
		if ctx.Err() != nil {
			c.disconnected(nil)
			return nil
		}
		if connected || errors.Is(err, errMoved) {
			wait = backoff{}
		}
		if errors.Is(err, errMoved) {
			continue
		}
		c.disconnected(err)
		select {
		case <-ctx.Done():
			return nil
		case <-c.moved:
			wait = backoff{}
		case <-time.After(wait.next()):
		}
	}
}

// silent returns a context with which client-go logs nothing to standard error: what matters
// is an error.
func silent(ctx context.Context) context.Context { return klog.NewContext(ctx, logr.Discard()) }

// session reads the credentials and works with them until they have to be read again.
func (c *Client) session(ctx context.Context, t *tracker, p *publisher) (connected bool, err error) {
	a, err := c.load()
	if err != nil {
		return false, err
	}
	client, closeIdle, err := newREST(a, c.conns, c.userAgent())
	if err != nil {
		return false, err
	}
	defer func() {
		closeIdle()
		c.conns.cut()
	}()
	c.update(func(s *discovery.Snapshot) { s.Server = a.server.Host })
	g, ctx := errgroup.WithContext(ctx)
	w := &watcher{c: c, t: t, client: client, ctx: ctx, events: make(chan event), ended: make(chan error, 1), pace: rate.NewLimiter(watchRate, watchBurst)}
	g.Go(func() error { return w.run(ctx) })
	g.Go(func() error { return w.reflect(ctx) })
	g.Go(func() error { return c.reconnect(ctx) })
	if !c.cfg.ReadOnly {
		g.Go(func() error { return p.run(ctx, client) })
	}
	err = g.Wait()
	return w.synced.Load(), err
}

// reconnect has connections made anew after the host has moved.
func (c *Client) reconnect(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.moved:
		}
		if !c.Snapshot().Connected {
			return errMoved
		}
		c.conns.cut() // the watch starts again where it was
	}
}

func (c *Client) userAgent() string { return "wirespan/" + c.cfg.Version }

// connected records that the list is complete and followed.
func (c *Client) connected() {
	server := ""
	c.update(func(s *discovery.Snapshot) {
		if !s.Connected {
			s.Connected, s.Since, server = true, time.Now(), s.Server
		}
		s.LastError, s.ServerAddr = nil, c.conns.server()
	})
	if server != "" {
		c.log.Info("following the Nodes of Kubernetes", "server", server)
	}
}

// disconnected records that they are not. It logs a warning for the first failure and debug
// messages for those after it.
func (c *Client) disconnected(err error) {
	first, lost := false, false
	c.update(func(s *discovery.Snapshot) {
		first, lost = s.LastError == nil, s.Connected
		if s.Connected || s.Since.IsZero() {
			s.Connected, s.Since = false, time.Now()
		}
		s.LastError = err
	})
	switch {
	case err == nil:
	case lost:
		c.log.Warn("Kubernetes API lost, retrying", "error", err)
	case first:
		c.log.Warn("can't follow the Nodes of Kubernetes, retrying", "error", err)
	default:
		c.log.Debug("Nodes of Kubernetes still can't be followed", "error", err)
	}
}
