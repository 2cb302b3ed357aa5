package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/client-go/rest"

	"github.com/wirespan/wirespan/discovery"
)

const (
	// A snapshot of the table costs time for each of its entries: so changes are shown
	// showBurst times in a row, and then at showRate.
	showRate  = 2 // per second
	showBurst = 20
)

// watcher updates the tracker from one session. It is the store of client-go's reflector.
type watcher struct {
	c      *Client
	t      *tracker
	client *rest.RESTClient
	ctx    context.Context // of the session: the methods of a store have none
	events chan event
	ended  chan error    // why the session has to end
	pace   *rate.Limiter // of watches: the reflector starts one after another as fast as they end
	synced atomic.Bool   // a list was complete
	stream atomic.Bool   // the list comes by a watch
	partly atomic.Bool   // and its end has not come yet
	pages  int           // of the list, so far
	room   int           // for what is to come of the list, in bytes
}

// event is a change of the store.
type event struct {
	set, deleted *node
	all          []*node       // the complete list
	taken        chan struct{} // with a list: closed when it has been taken
}

// run takes the changes, until ctx is done or the session has to end.
func (w *watcher) run(ctx context.Context) error {
	pace := rate.NewLimiter(showRate, showBurst)
	var show <-chan time.Time // nil: nothing to show
	for {
		var advance <-chan time.Time
		if next := w.t.table.Next(); !next.IsZero() {
			advance = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.ended:
			return err
		case e := <-w.events:
			w.apply(e, time.Now())
			if e.taken != nil {
				w.show()
				w.synced.Store(true)
				if w.stream.Load() { // else the watch has yet to begin
					w.c.connected()
				}
				close(e.taken)
			}
		case now := <-advance:
			w.t.table.Advance(now)
		case <-show:
			show = nil
			w.show()
		}
		if show == nil && (w.t.changed || w.t.table.Changed()) {
			show = time.After(pace.Reserve().Delay())
		}
	}
}

func (w *watcher) apply(e event, now time.Time) {
	own := w.c.cfg.Node
	switch {
	case e.taken != nil:
		w.t.replace(e.all, now)
		w.c.forgetOwn()
		i := slices.IndexFunc(e.all, func(n *node) bool { return n.Name == own })
		if i < 0 {
			w.c.setOwn(nil)
		} else {
			w.c.setOwn(e.all[i])
		}
	case e.deleted != nil:
		w.t.remove(e.deleted.Name, now)
		if e.deleted.Name == own {
			w.c.setOwn(nil)
		}
	default:
		w.t.set(e.set, now)
		if e.set.Name == own {
			w.c.setOwn(e.set)
		}
	}
}

// show copies the members to the client's snapshot.
func (w *watcher) show() {
	affiliates, problems := w.t.table.Result()
	self, removed := w.t.self(), w.t.removedIDs()
	heard := w.t.table.Heard(affiliates)
	w.c.update(func(s *discovery.Snapshot) {
		s.Affiliates, s.Heard, s.Self, s.Removed = affiliates, heard, self, removed
	})
	w.c.report(&w.c.found, slices.Concat(w.t.problems(), problems))
}

func (w *watcher) send(e event) error {
	select {
	case w.events <- e:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// Add is part of [cache.ReflectorStore].
func (w *watcher) Add(obj any) error { return w.Update(obj) }

// Update is part of [cache.ReflectorStore].
func (w *watcher) Update(obj any) error {
	n, ok := obj.(*node)
	if !ok {
		return fmt.Errorf("%T is no Node", obj)
	}
	return w.send(event{set: n})
}

// Delete is part of [cache.ReflectorStore].
func (w *watcher) Delete(obj any) error {
	n, ok := obj.(*node)
	if !ok {
		return fmt.Errorf("%T is no Node", obj)
	}
	return w.send(event{deleted: n})
}

// Replace is part of [cache.ReflectorStore].
func (w *watcher) Replace(list []any, _ string) error {
	all := make([]*node, 0, len(list))
	for _, obj := range list {
		if n, ok := obj.(*node); ok {
			all = append(all, n)
		}
	}
	e := event{all: all, taken: make(chan struct{})}
	if err := w.send(e); err != nil {
		return err
	}
	select {
	case <-e.taken:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// Resync is part of [cache.ReflectorStore].
func (w *watcher) Resync() error { return nil }
