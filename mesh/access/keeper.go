//go:build !edge

package access

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// retry is after which time a service that failed is started again: its port may be free
// then.
const retry = 5 * time.Second

// service is a listener and what serves it.
type service struct {
	name string // for people
	// run listens, calls ready, and serves until ctx is done.
	run func(ctx context.Context, ready func()) error
}

// optional returns how to run a service that is not needed where this host has no address of
// its family.
func optional(is bool, run func(ctx context.Context, ready func()) error) func(ctx context.Context, ready func()) error {
	if !is {
		return run
	}
	return func(ctx context.Context, ready func()) error {
		err := run(ctx, ready)
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
			ready()
			<-ctx.Done()
			return nil
		}
		return err
	}
}

// failure is a service that does not run.
type failure struct {
	name string
	err  error
}

// keeper keeps services running: those of a set that changes. Its zero value is one
// without services, once log and changed are set.
type keeper struct {
	log     hclog.Logger
	changed func() // called when a service has failed, or runs again

	mu      sync.Mutex // guards running, which set alone changes
	running map[string]*kept
}

type kept struct {
	service
	cancel context.CancelFunc
	done   chan struct{}
	failed error // why it does not run
}

// set starts and stops services so that these run. A service whose key is there already
// stays as it is. Others start when all that have to stop have ended: their ports are free
// then. One call at a time.
func (k *keeper) set(ctx context.Context, wanted map[string]service) {
	k.mu.Lock()
	var stopping []*kept
	for key, s := range k.running {
		if _, stays := wanted[key]; !stays {
			s.cancel()
			stopping = append(stopping, s)
			delete(k.running, key)
		}
	}
	k.mu.Unlock()
	for _, s := range stopping {
		<-s.done
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running == nil {
		k.running = map[string]*kept{}
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if k.running[key] == nil {
			ctx, cancel := context.WithCancel(ctx)
			s := &kept{service: wanted[key], cancel: cancel, done: make(chan struct{})}
			k.running[key] = s
			go k.keep(ctx, s)
		}
	}
}

// keep runs a service until ctx is done.
func (k *keeper) keep(ctx context.Context, s *kept) {
	defer close(s.done)
	defer s.cancel()
	for {
		err := s.run(ctx, func() { k.note(s, nil) })
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it has ended")
		}
		k.note(s, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
	}
}

// note notes that a service runs, or why it does not.
func (k *keeper) note(s *kept, err error) {
	k.mu.Lock()
	before := s.failed
	s.failed = err
	k.mu.Unlock()
	if err == nil && before == nil || err != nil && before != nil && before.Error() == err.Error() {
		return
	}
	k.log.Debug("service", "name", s.name, "error", err) // the condition is logged, too
	k.changed()
}

// failures returns the services that do not run, sorted.
func (k *keeper) failures() (list []failure) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(k.running)) {
		if s := k.running[key]; s.failed != nil {
			list = append(list, failure{s.name, s.failed})
		}
	}
	return list
}
