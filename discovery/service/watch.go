package service

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/wirespan/wirespan/discovery"
)

const (
	snapshotTimeout = 30 * time.Second // for the first message of a watch
	listTimeout     = 30 * time.Second

	// A snapshot of the table costs time for each of its entries: so changes are shown
	// publishBurst times in a row, and then at publishRate.
	publishRate  = 2 // per second
	publishBurst = 20

	// A service could send changes as fast as they are read.
	messageRate  = 250 // per second
	messageBurst = 4 * discovery.MaxAffiliates
)

// watch updates the table from one connection.
type watch struct {
	c        *Client
	t        *table
	rpc      cluster
	messages chan event
	listed   chan []discovery.RawAffiliate
	ready    chan struct{} // closed when the snapshot has arrived
	good     bool          // the snapshot has arrived; belongs to the goroutine of run
}

func (w *watch) run(ctx context.Context, g *errgroup.Group) error {
	late := time.After(snapshotTimeout)
	pace := rate.NewLimiter(publishRate, publishBurst)
	var publish <-chan time.Time // nil: nothing to show
	var verify <-chan time.Time  // nil: nothing to verify, or a List is under way
	listing := false
	for {
		if verify == nil && !listing && w.t.unverified() {
			// Events at about the same time share a List. The jitter spreads the
			// requests of all members of a mesh.
			verify = time.After(time.Second/2 + rand.N(time.Second))
		}
		var advance <-chan time.Time
		if next := w.t.Next(); !next.IsZero() {
			advance = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			for len(w.messages) > 0 { // the last message may be a deletion
				w.apply(<-w.messages)
			}
			if w.good && w.t.Changed() {
				w.publish()
			}
			return ctx.Err()
		case <-late:
			return errors.New("watch: no snapshot in time")
		case e := <-w.messages:
			first := !w.good
			w.apply(e)
			if first {
				late = nil
				w.publish()
				w.c.connected()
				close(w.ready)
			}
		case <-verify:
			verify, listing = nil, true
			w.t.verify()
			g.Go(func() error { return w.list(ctx) })
		case list := <-w.listed:
			listing = false
			w.t.verified(list, time.Now())
		case now := <-advance:
			w.t.Advance(now)
		case <-publish:
			publish = nil
			w.publish()
		}
		if publish == nil && w.t.Changed() && len(w.messages) == 0 {
			if wait := pace.Reserve().Delay(); wait > 0 {
				publish = time.After(wait)
			} else {
				w.publish()
			}
		}
	}
}

// apply takes the snapshot or, after it, a delta.
func (w *watch) apply(e event) {
	if w.good {
		w.t.delta(e, time.Now())
		return
	}
	w.good = true
	w.t.snapshot(e.affiliates, time.Now())
}

// receive opens the watch and passes its messages on. It does not wait for the answers to
// other requests: the server ends the watch of a slow reader.
func (w *watch) receive(ctx context.Context) error {
	stream, err := w.rpc.watch(ctx, w.c.cfg.DiscoveryID)
	if err != nil {
		return rpcError("watch", err)
	}
	defer stream.Close()
	pace := rate.NewLimiter(messageRate, messageBurst)
	size, affiliates := maxSnapshotSize, maxEntries // of the first message
	for {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		b, err := stream.Receive(size)
		if errors.Is(err, io.EOF) {
			return errors.New("watch: ended by the server")
		}
		if err != nil {
			return rpcError("watch", err)
		}
		e, err := decodeEvent(b, affiliates)
		if err != nil {
			return rpcError("watch", err)
		}
		select {
		case w.messages <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
		size, affiliates = maxDeltaSize, maxDeltaAffiliates
	}
}

// publish copies the table's content to the client's snapshot.
func (w *watch) publish() {
	affiliates, problems := w.t.Result()
	heard := w.t.Heard(affiliates)
	var own discovery.RawAffiliate
	w.c.update(func(s *discovery.Snapshot) {
		s.Affiliates, s.Heard = affiliates, heard
		own, s.Self = w.t.Own()
	})
	w.c.observeOwn(own)
	w.c.report(&w.c.found, problems)
}

func (w *watch) list(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := w.rpc.list(call, w.c.cfg.DiscoveryID)
	if err != nil {
		return rpcError("list", err)
	}
	select {
	case w.listed <- list:
	case <-ctx.Done():
	}
	return nil
}
