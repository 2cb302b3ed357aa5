package relay

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// tryTime is how long a relay is tried.
const tryTime = 15 * time.Second

// use is the use of one relay: it tries the ways to it, keeps the address that it gets first, or a
// later one by UDP, and ends when that is lost. Its goroutine is run; clients have goroutines of their own, which it
// waits for.
type use struct {
	set    *Set
	relay  mesh.Relay
	began  time.Time
	cancel context.CancelFunc
	wake   mesh.Signal // a client has changed

	// Guarded by Set.mu.
	peers   []netip.AddrPort
	runners []*runner        // those that are not ended; the last one began last
	winner  *runner          // whose address is announced; nil: there is none yet
	former  *runner          // that was the winner, and may have peers that use its address; nil: none
	past    mesh.RelayStatus // counters of runners that are ended
	ended   bool
	err     error // why
}

// runner is a client on one way.
type runner struct {
	way
	client *Client
	stop   context.CancelFunc
	failed bool // is the use's
}

// run returns when there is no address, or not any more.
func (u *use) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	ways, err := u.set.access.ways(ctx, u.relay)
	if err == nil {
		err = u.try(ctx, &group, ways)
	}
	if err == nil {
		err = u.keep(ctx, &group, ways)
	}
	if ctx.Err() != nil {
		return
	}
	u.set.mu.Lock()
	u.ended, u.err = true, err
	for _, r := range u.runners {
		r.stop()
	}
	u.set.mu.Unlock()
	u.set.wake.Notify()
}

// try takes the first client that has an address. It ends the others.
func (u *use) try(ctx context.Context, group *sync.WaitGroup, ways []way) error {
	deadline := time.NewTimer(tryTime)
	defer deadline.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	var why error // that no way leads there
	for {
		r, live, err := u.look()
		switch {
		case r != nil:
			u.won(r)
			return nil
		case refused(err) && live == 0: // as it would be by any other way
			return err
		case why == nil:
			why = err
		}
		for len(ways) > 0 && (live == 0 || time.Since(u.began) >= ways[0].after) {
			if _, err := u.start(ctx, group, &ways[0]); err != nil {
				return err
			}
			ways = ways[1:]
			live++
		}
		if live == 0 {
			return why
		}
		if len(ways) > 0 {
			next.Reset(ways[0].after - time.Since(u.began))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return errors.New("relay: it gave no address in " + tryTime.String())
		case <-u.wake:
		case <-next.C:
		}
	}
}

// look returns the client that has an address, if there is one, how many may still get one, and
// why one has failed since the last look. Those that failed are ended.
func (u *use) look() (ready *runner, live int, failure error) {
	for _, r := range u.runners {
		if r.failed {
			continue
		}
		switch st := r.client.Snapshot(); st.State {
		case StateReady:
			return r, live, nil
		case StateWaiting:
			r.failed = true
			r.stop()
			if failure == nil || refused(st.Err) {
				failure = st.Err
			}
		case StateIdle, StateAsking:
			live++
		}
	}
	return nil, live, failure
}

// start runs a client on one way.
func (u *use) start(ctx context.Context, group *sync.WaitGroup, w *way) (*runner, error) {
	r := &runner{way: *w}
	c, err := New(Config{
		Dial: w.dial, Stream: w.stream, Family6: u.relay.Family6, Receive: u.set.bind.deliver(u.relay.Name, &r.client),
		Credentials: func(relay time.Time) Credentials { return u.set.access.Credentials(u.relay, relay) },
	})
	if err != nil {
		return nil, err
	}
	ctx, r.stop = context.WithCancel(ctx)
	r.client = c
	u.set.mu.Lock()
	c.SetPeers(u.peers)
	u.runners = append(u.runners, r)
	u.set.mu.Unlock()
	group.Go(func() { _ = c.Run(ctx) }) // always nil
	group.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.Changed():
				u.wake.Notify()
			}
		}
	})
	return r, nil
}

// won takes a client, and ends the others.
func (u *use) won(r *runner) {
	for i := len(u.runners) - 1; i >= 0; i-- {
		if other := u.runners[i]; other != r {
			u.end(other)
		}
	}
	u.take(r)
	u.set.wake.Notify()
}

// take has a client send, and its address announced, instead of the winner's.
func (u *use) take(r *runner) {
	u.set.bind.use(u.relay.Name, r.client)
	u.set.mu.Lock()
	u.former, u.winner = u.winner, r
	u.set.mu.Unlock()
	st := r.client.Snapshot()
	u.set.log.Debug("relay gave an address", "relay", u.relay.Name, "transport", r.transport, "server", r.server, "address", st.Relayed)
	u.set.changed.Notify()
}

// end ends a client.
func (u *use) end(r *runner) {
	u.set.mu.Lock()
	r.stop()
	r.count(&u.past)
	for i, other := range u.runners {
		if other == r {
			u.runners = append(u.runners[:i], u.runners[i+1:]...)
			break
		}
	}
	if u.former == r {
		u.former = nil
	}
	u.set.mu.Unlock()
	u.set.changed.Notify()
}

// tell hands on what a wish says. The caller holds Set.mu.
func (u *use) tell(moved bool, peers []netip.AddrPort) {
	changed := !slices.Equal(u.peers, peers)
	u.peers = peers
	for _, r := range u.runners {
		if changed {
			r.client.SetPeers(peers)
		}
		if moved {
			r.client.Check()
		}
	}
}

// show adds what is known to a status. The caller holds Set.mu.
func (u *use) show(st *mesh.RelayStatus) {
	st.Sent, st.Received, st.Dropped = st.Sent+u.past.Sent, st.Received+u.past.Received, st.Dropped+u.past.Dropped
	for _, r := range u.runners {
		r.count(st)
		st.Transport, st.Server = r.transport, r.server
	}
	if u.winner == nil {
		return
	}
	now := u.winner.client.Snapshot()
	st.Transport, st.Server = u.winner.transport, u.winner.server
	st.Relayed, st.RTT, st.Refused = now.Relayed, now.RTT, now.Refused
	st.Permitted = now.Relayed.IsValid() && now.Permitted
	if u.former != nil {
		st.Former = u.former.client.Snapshot().Relayed
	}
}

// count adds what a client has done to a status.
func (r *runner) count(st *mesh.RelayStatus) {
	n := r.client.Counters()
	st.Sent, st.Received = st.Sent+n.SentBytes, st.Received+n.ReceivedBytes
	st.Dropped += n.DroppedNoAddress + n.DroppedNoPermission + n.DroppedFull + n.DroppedTooLarge
}
