//go:build !edge

package access

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// record is what services do. One named "bad" fails while there is an error for it.
type record struct {
	mu            sync.Mutex
	starts, ended map[string]int
	bad           error
}

func newRecord() *record {
	return &record{starts: map[string]int{}, ended: map[string]int{}}
}

func (r *record) start(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts[name]++
	if name == "bad" {
		return r.bad
	}
	return nil
}

func (r *record) service(name string) service {
	return service{name, func(ctx context.Context, ready func()) error {
		if err := r.start(name); err != nil {
			return err
		}
		ready()
		<-ctx.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended[name]++
		return nil
	}}
}

func (r *record) services(names ...string) map[string]service {
	all := map[string]service{}
	for _, name := range names {
		all[name] = r.service(name)
	}
	return all
}

// check waits until nothing moves, and compares the counters of a service.
func (r *record) check(t *testing.T, name string, starts, ended int) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starts[name] != starts || r.ended[name] != ended {
		t.Errorf("%s: %d starts and %d ends, want %d and %d", name, r.starts[name], r.ended[name], starts, ended)
	}
}

// A service that fails is tried again, and shown until it runs.
func TestKeeperRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Int64
		k := keeper{log: hclog.NewNullLogger(), changed: func() { changes.Add(1) }}
		r, taken := newRecord(), errors.New("port is taken")
		r.bad = taken
		k.set(t.Context(), r.services("good", "bad"))
		time.Sleep(retry + time.Second)
		r.check(t, "bad", 2, 0)
		if f := k.failures(); len(f) != 1 || f[0].name != "bad" || !errors.Is(f[0].err, taken) || changes.Load() != 1 {
			t.Errorf("failures %v, %d changes", f, changes.Load())
		}
		r.mu.Lock()
		r.bad = nil
		r.mu.Unlock()
		time.Sleep(retry)
		r.check(t, "bad", 3, 0)
		if f := k.failures(); len(f) != 0 || changes.Load() != 2 {
			t.Errorf("failures %v, %d changes", f, changes.Load())
		}
		k.set(t.Context(), nil)
	})
}

// A change touches no service that stays.
func TestKeeperChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeper{log: hclog.NewNullLogger(), changed: func() {}}
		r := newRecord()
		k.set(t.Context(), r.services("a", "b", "c"))
		k.set(t.Context(), r.services("a", "c", "d"))
		r.check(t, "a", 1, 0)
		r.check(t, "b", 1, 1)
		r.check(t, "c", 1, 0)
		r.check(t, "d", 1, 0)
		k.set(t.Context(), nil)
		r.check(t, "d", 1, 1)
	})
}

// A service that ends by itself is one that does not run.
func TestKeeperEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeper{log: hclog.NewNullLogger(), changed: func() {}}
		k.set(t.Context(), map[string]service{"a": {"short", func(context.Context, func()) error { return nil }}})
		synctest.Wait()
		if f := k.failures(); len(f) != 1 || f[0].err == nil {
			t.Errorf("failures %v", f)
		}
		k.set(t.Context(), nil)
	})
}

// On a host without IPv6 nothing is missing where ::1 can't be listened on.
func TestKeeperOptional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		absent := func(context.Context, func()) error { return &net.OpError{Op: "listen", Err: syscall.EADDRNOTAVAIL} }
		k := keeper{log: hclog.NewNullLogger(), changed: func() {}}
		k.set(t.Context(), map[string]service{"4": {"IPv4", optional(false, absent)}, "6": {"IPv6", optional(true, absent)}})
		synctest.Wait()
		if f := k.failures(); len(f) != 1 || f[0].name != "IPv4" {
			t.Errorf("failures %v", f)
		}
		k.set(t.Context(), nil)
	})
}
