package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wirespan/wirespan/discovery"
)

// Run follows the service and publishes to it until ctx is cancelled, which is not an
// error. It returns when all its goroutines have ended. It must be called only once.
func (c *Client) Run(ctx context.Context) error {
	t := newTable(&c.cfg)
	p := &publisher{c: c}
	var wait backoff
	failed := 0 // endpoints in a row
	for {
		attempt, stop := c.untilMoved(ctx)
		good, err := c.session(attempt, t, p)
		moved := stop()
		if moved {
			err = errMoved
		}
		c.disconnected(ctx, err)
		if ctx.Err() != nil {
			return nil
		}
		if moved {
			wait, failed = backoff{}, 0
			continue
		}
		if good {
			wait, failed = backoff{}, 0
		} else {
			failed++
			c.nextEndpoint(failed)
			if failed%len(c.cfg.Endpoints) != 0 {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.moved:
			wait = backoff{}
		case <-time.After(wait.next()):
		}
	}
}

// session runs one connection until it ends. It returns good if the server sent a
// snapshot and answered the updates.
func (c *Client) session(ctx context.Context, t *table, p *publisher) (good bool, err error) {
	conn, err := c.connect(ctx, c.current())
	if err != nil {
		return false, err
	}
	defer conn.Close()
	c.mu.Lock()
	c.endpoint = conn.endpoint
	c.mu.Unlock()
	c.update(func(s *discovery.Snapshot) {
		s.Server, s.ServerAddr = conn.endpoint, conn.remote
		if conn.public.IsValid() {
			s.PublicAddr = conn.public
		}
	})
	p.good = false
	g, ctx := errgroup.WithContext(ctx)
	w := &watch{c: c, t: t, rpc: conn.rpc, messages: make(chan event, 64), listed: make(chan []discovery.RawAffiliate), ready: make(chan struct{})}
	g.Go(func() error { return w.receive(ctx) })
	g.Go(func() error { return w.run(ctx, g) })
	g.Go(func() error {
		select {
		case <-w.ready: // otherwise a server that accepts no updates would never be followed
			return p.run(ctx, conn.rpc)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	err = g.Wait()
	return w.good && p.good, fmt.Errorf("discovery service %s: %w", conn.endpoint, err)
}

func (c *Client) current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoint
}

// nextEndpoint selects the next endpoint of the list. After a good connection it starts
// at the first one.
func (c *Client) nextEndpoint(failed int) {
	next := c.cfg.Endpoints[failed%len(c.cfg.Endpoints)]
	c.mu.Lock()
	c.endpoint = next
	c.mu.Unlock()
}

// connected records that a connection has delivered its snapshot.
func (c *Client) connected() {
	var server string
	c.update(func(s *discovery.Snapshot) {
		s.Connected, s.Since, s.LastError = true, time.Now(), nil
		server = s.Server
	})
	c.log.Info("connected to discovery service", "server", server)
}

// disconnected records the end of a connection. It logs a warning for the first failure
// and debug messages for those after it.
func (c *Client) disconnected(ctx context.Context, err error) {
	if ctx.Err() != nil {
		err = nil // Run was stopped, which is no failure
	}
	first, lost := false, false
	c.update(func(s *discovery.Snapshot) {
		first, lost = s.Connected || s.LastError == nil, s.Connected
		if s.Connected || s.Since.IsZero() {
			s.Connected, s.Since = false, time.Now()
		}
		s.LastError = err
	})
	switch {
	case err == nil:
	case lost && errors.Is(err, errMoved):
		c.log.Info("connecting to the discovery service anew", "reason", err)
	case lost:
		c.log.Warn("discovery service lost, retrying", "error", err)
	case first && !errors.Is(err, errMoved):
		c.log.Warn("can't reach discovery service, retrying", "error", err)
	default:
		c.log.Debug("discovery service still unreachable", "error", err)
	}
}
