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

// use is the use of one relay: it tries the ways to it, keeps the address that it gets first, and
// ends when that is lost. Its goroutine is run; clients have goroutines of their own, which it
// waits for.
type use struct {
	set    *Set
	relay  mesh.Relay
	began  time.Time
	cancel context.CancelFunc
	wake   mesh.Signal // a client has changed

	// Guarded by Set.mu.
	peers   []netip.AddrPort
	runners []*runner // those of the tries; the last one began last
	winner  *runner   // nil: there is no address yet
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
	r, err := u.try(ctx, &group)
	if err == nil {
		err = u.keep(ctx, r)
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

// try returns the first client that has an address. It ends the others.
func (u *use) try(ctx context.Context, group *sync.WaitGroup) (*runner, error) {
	ways, err := u.set.access.ways(ctx, u.relay)
	if err != nil {
		return nil, err
	}
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
			return r, nil
		case refused(err) && live == 0: // as it would be by any other way
			return nil, err
		case why == nil:
			why = err
		}
		for len(ways) > 0 && (live == 0 || time.Since(u.began) >= ways[0].after) {
			if err := u.start(ctx, group, ways[0]); err != nil {
				return nil, err
			}
			ways = ways[1:]
			live++
		}
		if live == 0 {
			return nil, why
		}
		if len(ways) > 0 {
			next.Reset(ways[0].after - time.Since(u.began))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-deadline.C:
			return nil, errors.New("relay: it gave no address in " + tryTime.String())
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
func (u *use) start(ctx context.Context, group *sync.WaitGroup, w way) error {
	c, err := New(Config{
		Dial: w.dial, Stream: w.stream, Family6: u.relay.Family6, Receive: u.set.bind.deliver(u.relay.Name),
		Credentials: func(relay time.Time) Credentials { return u.set.access.Credentials(u.relay, relay) },
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	r := &runner{way: w, client: c, stop: stop}
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
	return nil
}

// won has a client send and receive, and ends the others.
func (u *use) won(r *runner) {
	u.set.bind.use(u.relay.Name, r.client)
	u.set.mu.Lock()
	u.winner = r
	for _, other := range u.runners {
		if other != r {
			other.stop()
		}
	}
	u.runners = []*runner{r}
	u.set.mu.Unlock()
	st := r.client.Snapshot()
	u.set.log.Debug("relay gave an address", "relay", u.relay.Name, "transport", r.transport, "server", r.server, "address", st.Relayed)
	u.set.wake.Notify()
	u.set.changed.Notify()
}

// keep returns why the address is lost.
func (u *use) keep(ctx context.Context, r *runner) error {
	defer u.set.bind.drop(u.relay.Name, r.client)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-u.wake:
		}
		if st := r.client.Snapshot(); st.State != StateReady {
			if st.Err == nil {
				return errors.New("relay: the address is lost")
			}
			return st.Err
		}
		u.set.changed.Notify()
	}
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
	for _, r := range u.runners {
		n := r.client.Counters()
		st.Sent, st.Received = st.Sent+n.SentBytes, st.Received+n.ReceivedBytes
		st.Dropped += n.DroppedNoAddress + n.DroppedNoPermission + n.DroppedFull + n.DroppedTooLarge
		st.Transport, st.Server = r.transport, r.server
	}
	if u.winner == nil {
		return
	}
	now := u.winner.client.Snapshot()
	st.Relayed, st.RTT, st.Refused = now.Relayed, now.RTT, now.Refused
	st.Permitted = now.Relayed.IsValid() && now.Permitted
}
