package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	pageSize    = 500 // Nodes, of a list that is not streamed
	listTimeout = time.Minute
	maxPages    = 200
	maxListSize = 128 << 20 // bytes that a list takes in memory: 65,000 Nodes, 8,192 of them with 8 KB of annotations

	watchRate  = 0.5 // per second
	watchBurst = 5
)

// reflect runs client-go's reflector, until ctx is done.
func (w *watcher) reflect(ctx context.Context) error {
	log := klog.FromContext(ctx)
	r := cache.NewReflectorWithOptions(
		&cache.ListWatch{ListWithContextFunc: w.list, WatchFuncWithContext: w.watch}, &node{}, w,
		cache.ReflectorOptions{Name: "nodes", TypeDescription: "Node", Logger: &log},
	)
	r.WatchListPageSize = pageSize
	var wait backoff
	for {
		start := time.Now()
		_ = r.ListAndWatchWithContext(ctx)
		if time.Since(start) > maxBackoff { // it was not a failure to start
			wait = backoff{}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait.next()):
		}
	}
}

// list gets a list, or a page of it.
func (w *watcher) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if o.Limit > 0 && o.ResourceVersion == "0" {
		o.ResourceVersion = "" // from its cache a server returns no pages
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	l := &nodeList{}
	w.stream.Store(false)
	if o.Continue == "" {
		w.pages, w.room = 0, maxListSize
	}
	err := w.request(o).Do(ctx).Into(l)
	for i := range l.Items {
		w.room -= l.Items[i].size()
	}
	if w.pages++; w.pages > maxPages || w.room < 0 {
		err = cmp.Or(err, errTooLarge)
	}
	if err != nil {
		w.failed("list", err)
		return nil, err
	}
	return l, nil
}

// watch starts a watch, which may begin with the whole list.
func (w *watcher) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if w.partly.Swap(false) {
		w.failed("list", errors.New("the server ended the list before it was complete"))
	}
	if err := w.pace.Wait(ctx); err != nil {
		return nil, err
	}
	limit := listTimeout // more than the server has
	if o.TimeoutSeconds != nil {
		limit += time.Duration(*o.TimeoutSeconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	stream, err := w.begin(ctx, o)
	if err != nil {
		cancel()
		return nil, err
	}
	return newFiltered(ctx, cancel, stream, w.filter(o.SendInitialEvents != nil)), nil
}

// begin makes the request of a watch.
func (w *watcher) begin(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	var reached outcome
	stream, err := w.request(o).Param("watch", "true").MaxRetries(0).Watch(context.WithValue(ctx, outcomeKey{}, &reached))
	streamed := o.SendInitialEvents != nil
	switch {
	case err == nil && reached.err != nil: // client-go takes a broken connection for an empty watch
		w.failed("watch", reached.err)
	case err != nil && streamed && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)):
		// A server that can't stream lists; the reflector then lists.
	case err != nil:
		w.failed("watch", err)
		if streamed && (utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)) {
			err = errors.New(err.Error()) // for these the reflector waits even when it should end
		}
	case streamed:
		w.stream.Store(true)
		w.partly.Store(true)
	case w.synced.Load():
		w.c.connected()
	}
	if reached.retryAfter > 0 && err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(reached.retryAfter):
		}
	}
	return stream, err
}

// filter returns a function that takes the events of a watch which are used. If the watch
// begins with a list that is too large, it ends with an error.
func (w *watcher) filter(listing bool) watch.FilterFunc {
	room := maxListSize
	return func(e watch.Event) (watch.Event, bool) {
		n, ok := e.Object.(*node)
		switch {
		case !ok:
			w.partly.Store(false)
			return e, e.Type == watch.Error // the reflector would log what is no Node
		case !listing:
			return e, true
		case n.Annotations[metav1.InitialEventsAnnotationKey] == "true":
			listing = false
			w.partly.Store(false)
		}
		if room -= n.size(); room < 0 {
			w.partly.Store(false)
			w.failed("list", errTooLarge)
			return watch.Event{Type: watch.Error, Object: &apierrors.NewInternalError(errTooLarge).ErrStatus}, true
		}
		return e, true
	}
}

func (w *watcher) request(o metav1.ListOptions) *rest.Request {
	r := w.client.Get().Resource("nodes").WarningHandler(rest.NoWarnings{})
	param := func(name, value string) {
		if value != "" {
			r = r.Param(name, value)
		}
	}
	param("resourceVersion", o.ResourceVersion)
	param("resourceVersionMatch", string(o.ResourceVersionMatch))
	param("continue", o.Continue)
	if o.Limit > 0 {
		param("limit", strconv.FormatInt(o.Limit, 10))
	}
	if o.TimeoutSeconds != nil {
		param("timeoutSeconds", strconv.FormatInt(*o.TimeoutSeconds, 10))
	}
	if o.AllowWatchBookmarks {
		param("allowWatchBookmarks", "true")
	}
	if o.SendInitialEvents != nil {
		param("sendInitialEvents", strconv.FormatBool(*o.SendInitialEvents))
	}
	return r
}

// failed reports a failed request. That the server has forgotten where a watch was is none:
// the reflector lists anew.
func (w *watcher) failed(verb string, err error) {
	if w.ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	explained := w.c.explain(verb, err)
	if !stale(err) {
		w.c.disconnected(explained)
		return
	}
	select {
	case w.ended <- explained:
	default:
	}
}
