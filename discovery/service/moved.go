package service

import (
	"context"
	"errors"
	"sync"
)

// errMoved ends a connection that was made from an address or by a route that may be gone.
var errMoved = errors.New("the addresses of this host have changed")

// Moved says that addresses or default routes of this host have changed, so that the
// connection may hang until TCP gives it up, or an attempt succeed. It is replaced at once.
func (c *Client) Moved() {
	c.mu.Lock()
	local := c.snap.Connected && c.snap.ServerAddr.IsLoopback()
	c.mu.Unlock()
	if !local {
		c.moved.Notify()
	}
}

// untilMoved returns a context that also ends when Moved is called. Stop ends it, and
// reports whether Moved did before.
func (c *Client) untilMoved(ctx context.Context) (attempt context.Context, stop func() bool) {
	attempt, end := context.WithCancelCause(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-attempt.Done():
		case <-c.moved:
			end(errMoved)
		}
	})
	return attempt, func() bool {
		end(nil)
		waiting.Wait()
		return errors.Is(context.Cause(attempt), errMoved)
	}
}
