package kubernetes

import (
	"context"

	"k8s.io/apimachinery/pkg/watch"
)

// filtered is a watch of what passes a filter, until its context is done. That of
// apimachinery never ends if it is stopped while an event waits.
type filtered struct {
	cancel context.CancelFunc
	events chan watch.Event
}

// newFiltered takes over a stream. Stop calls cancel, which must end ctx.
func newFiltered(ctx context.Context, cancel context.CancelFunc, stream watch.Interface, filter watch.FilterFunc) *filtered {
	f := &filtered{cancel, make(chan watch.Event)}
	go f.run(ctx, stream, filter)
	return f
}

func (f *filtered) run(ctx context.Context, stream watch.Interface, filter watch.FilterFunc) {
	defer close(f.events)
	defer f.cancel()
	defer stream.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-stream.ResultChan():
			if !ok {
				return
			}
			if e, ok = filter(e); !ok {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case f.events <- e:
			}
		}
	}
}

// Stop is part of [watch.Interface].
func (f *filtered) Stop() { f.cancel() }

// ResultChan is part of [watch.Interface].
func (f *filtered) ResultChan() <-chan watch.Event { return f.events }
