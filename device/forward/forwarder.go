package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Defaults of a Config.
const (
	defaultConnections = 1024
	defaultPending     = 128
	defaultIdle        = 2 * time.Hour
	defaultUDPIdle     = time.Minute
	defaultDialTimeout = 10 * time.Second
)

// Config is what a Forwarder works with. Mesh is required.
type Config struct {
	Mesh  Network
	Host  Host                      // nil: the kernel's sockets
	Names func(netip.Addr) []string // of the peer that owns an address: nodename, node id. Must not block. nil: none
	// Changed is called when a listener can't be opened, or when it is open after that; nil:
	// not called. It must not block.
	Changed func()
	Log     hclog.Logger // nil: silent

	// Limits of each forward; 0 stands for a default.
	MaxConnections  int           // of TCP
	MaxAssociations int           // of UDP
	MaxPending      int           // of those: for which the target is dialled
	IdleTimeout     time.Duration // of TCP; negative: none
	UDPIdleTimeout  time.Duration // of UDP; at most 10 s if the target's port is 53
	DialTimeout     time.Duration
}

// Forwarder runs a set of forwards. Use New.
type Forwarder struct {
	cfg     Config
	changed chan struct{} // capacity 1: desired has changed

	mu      sync.Mutex // guards what follows
	desired []Spec
	running map[string]*forward // by name
}

// New returns a Forwarder without forwards.
func New(c Config) (*Forwarder, error) {
	if c.Mesh == nil {
		return nil, errors.New("forward: Mesh is required")
	}
	if c.Host == nil {
		c.Host = new(Sockets)
	}
	if c.Names == nil {
		c.Names = func(netip.Addr) []string { return nil }
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	c.MaxConnections = cmp.Or(c.MaxConnections, defaultConnections)
	c.MaxAssociations = cmp.Or(c.MaxAssociations, defaultConnections)
	c.MaxPending = cmp.Or(c.MaxPending, defaultPending)
	c.IdleTimeout = max(cmp.Or(c.IdleTimeout, defaultIdle), 0)
	c.UDPIdleTimeout = cmp.Or(c.UDPIdleTimeout, defaultUDPIdle)
	c.DialTimeout = cmp.Or(c.DialTimeout, defaultDialTimeout)
	return &Forwarder{cfg: c, changed: make(chan struct{}, 1), running: map[string]*forward{}}, nil
}

// Set replaces the set of forwards. Those that stay the same keep their connections; those
// that are gone end with theirs. Set does not wait for that. The error joins what is wrong
// with single forwards; the others run.
func (f *Forwarder) Set(specs []Spec) error {
	var problems []error
	var valid []Spec
	for _, s := range specs {
		err := s.validate()
		if err == nil && slices.ContainsFunc(valid, func(other Spec) bool { return other.Name == s.Name }) {
			err = errors.New("the name is used twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("forward %q: %w", s.Name, err))
			continue
		}
		s.Allow = slices.Clone(s.Allow)
		valid = append(valid, s)
	}
	f.mu.Lock()
	f.desired = valid
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
	return errors.Join(problems...)
}

// Run runs the forwards until ctx ends. Then it resets all connections.
func (f *Forwarder) Run(ctx context.Context) error {
	for {
		f.apply(ctx)
		select {
		case <-ctx.Done():
			_ = f.Set(nil)
			f.apply(ctx)
			return nil
		case <-f.changed:
		}
	}
}

// apply ends the forwards that are not desired, waits for that, and starts those that are
// missing.
func (f *Forwarder) apply(ctx context.Context) {
	f.mu.Lock()
	desired := f.desired
	var gone []*forward
	for name, w := range f.running {
		if !slices.ContainsFunc(desired, func(s Spec) bool { return s.equal(&w.spec) }) {
			gone = append(gone, w)
			delete(f.running, name)
		}
	}
	f.mu.Unlock()
	for _, w := range gone {
		w.stop()
	}
	for _, w := range gone {
		<-w.ended
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range desired {
		if f.running[s.Name] == nil {
			f.running[s.Name] = start(ctx, s, &f.cfg)
		}
	}
}

// Reset opens the listeners on the mesh anew, and ends associations of UDP: the data plane
// was replaced.
func (f *Forwarder) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.running {
		w.reset()
	}
}

// Status is the state of one forward.
type Status struct {
	Name        string
	Listeners   int   // how many ports and addresses it should listen on
	Listening   int   // how many of them are open
	Err         error // why one is not open
	Connections int   // now; of UDP: associations
	Counters
}

// Counters count since the forward was started.
type Counters struct {
	Accepted   uint64 // connections and associations
	Denied     uint64 // connections and datagrams of peers that are not in the list
	Refused    uint64 // connections and datagrams beyond a limit
	Failed     uint64 // connections and associations whose target could not be reached
	ToTarget   int64  // bytes
	FromTarget int64  // bytes
}

// Status returns the state of each forward, in the order of Set. One that has not started
// yet has only a name.
func (f *Forwarder) Status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Status, len(f.desired))
	for i, s := range f.desired {
		all[i].Name = s.Name
		if w := f.running[s.Name]; w != nil && w.spec.equal(&s) {
			all[i] = w.status()
		}
	}
	return all
}
