package relay

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Times of UDP where a stream gave the address.
const (
	firstUDP, lastUDP = time.Minute, 15 * time.Minute // between two tries
	// proofTime is for how long UDP has to pass. Requests leave each second except in the last two,
	// and all have to be answered: what loses a fifth hardly ever gets that far.
	proofTime = 30 * time.Second
	// unusedTime is how long nothing comes at a former address until it is given back.
	unusedTime = time.Minute
)

// keeper keeps the address of a use. If a stream has given it, UDP is tried at growing intervals.
// Once that has proven itself, its address is the one that is announced, and the stream's is kept
// until no peer uses it.
type keeper struct {
	*use
	udp     *way // to the same server; nil: there is none
	pause   time.Duration
	tryAt   time.Time
	trial   *runner   // of UDP; nil: none
	readyAt time.Time // zero: the trial has no address yet
	heard   uint64    // packets at the former address
	heardAt time.Time
}

// keep returns why the address is lost.
func (u *use) keep(ctx context.Context, group *sync.WaitGroup, ways []way) error {
	defer func() { u.set.bind.drop(u.relay.Name, u.winner.client) }()
	k := keeper{use: u, pause: firstUDP, tryAt: time.Now().Add(firstUDP)}
	for i := range ways {
		if w := &ways[i]; !w.stream && w.server == u.winner.server {
			k.udp = w
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, err := k.step(ctx, group, time.Now())
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-u.wake:
			u.set.changed.Notify()
		case <-timer.C:
		}
	}
}

// step does what is due, and returns when to look again, or why the address is lost.
func (k *keeper) step(ctx context.Context, group *sync.WaitGroup, now time.Time) (wait time.Duration, err error) {
	if f := k.former; f != nil {
		if n := f.client.count.received.Load(); n != k.heard {
			k.heard, k.heardAt = n, now
		}
		if f.lost() != nil || now.Sub(k.heardAt) >= unusedTime {
			k.end(f)
		}
	}
	r := k.winner
	switch err := r.lost(); {
	case err == nil:
	case k.former == nil:
		return 0, err
	default:
		k.take(k.former)
		k.end(r)
		k.later(now)
	}
	if k.udp != nil && k.winner.stream {
		return k.try(ctx, group, now)
	}
	return unusedTime, nil
}

// lost returns why a client has no address; nil: it has one.
func (r *runner) lost() error {
	st := r.client.status.Load()
	switch {
	case st.State == StateReady:
		return nil
	case st.Err == nil:
		return errors.New("relay: the address is lost")
	}
	return st.Err
}

// try tries UDP when it is time, and returns when to look again.
func (k *keeper) try(ctx context.Context, group *sync.WaitGroup, now time.Time) (wait time.Duration, err error) {
	if k.trial == nil {
		if wait = k.tryAt.Sub(now); wait <= 0 {
			k.readyAt = time.Time{}
			k.trial, err = k.start(ctx, group, k.udp)
			wait = lastUDP
		}
		return wait, err
	}
	c := k.trial.client
	st := c.status.Load()
	passes := now.Sub(k.readyAt)
	switch {
	case st.State == StateIdle || st.State == StateAsking:
		return lastUDP, nil
	case st.State != StateReady:
	case k.readyAt.IsZero():
		k.readyAt = now
		return time.Second, nil
	case passes < proofTime-2*time.Second:
		c.Check()
		return time.Second, nil
	case passes < proofTime:
		return proofTime - passes, nil
	case st.Permitted && c.count.asked.Load() == c.count.answered.Load():
		k.heardAt = now
		k.take(k.trial)
		k.trial = nil
		return unusedTime, nil
	}
	k.end(k.trial)
	k.later(now)
	return k.pause, nil
}

// later puts off the next try.
func (k *keeper) later(now time.Time) {
	k.trial, k.pause = nil, min(2*k.pause, lastUDP)
	k.tryAt = now.Add(k.pause)
}
