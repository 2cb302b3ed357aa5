package nft

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// Config is what Open needs; its zero value is fine.
type Config struct {
	Log hclog.Logger // nil: discard
	// Previous is what an earlier process applied, if that is known. What Apply's
	// ruleset does not have of it is removed.
	// A table for its tunnel is ours, even if it is for another interface now.
	Previous firewall.Ruleset
}

// Firewall keeps rulesets in the kernel of one network namespace: that of the
// thread that opened it. Its methods may be called concurrently.
type Firewall struct {
	log     hclog.Logger
	changed chan struct{}
	watched atomic.Pointer[watched] // what Run looks for; nil: nothing
	events  []*listener

	mu       sync.Mutex // guards all below
	nft      *socket
	route    *socket
	families []byte             // that the kernel has
	known    *known             // nil: not known
	past     []firewall.Ruleset // skeletons of what may be in the kernel
	warnings []string
}

// Open makes a Firewall, and changes nothing in the kernel.
func Open(c Config) (*Firewall, error) {
	f := &Firewall{log: c.Log, changed: make(chan struct{}, 1)}
	f.remember(&c.Previous)
	if f.log == nil {
		f.log = hclog.NewNullLogger()
	}
	var err error
	if f.nft, err = openSocket(unix.NETLINK_NETFILTER); err != nil {
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", hinted(err))
	}
	if f.route, err = openSocket(unix.NETLINK_ROUTE); err != nil {
		f.nft.close()
		return nil, fmt.Errorf("open a netlink socket for routes: %w", err)
	}
	f.families = []byte{unix.AF_INET}
	if fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		_ = unix.Close(fd)
		f.families = append(f.families, unix.AF_INET6)
	}
	f.listen()
	return f, nil
}

// Close ends the use of the kernel, and leaves there what was applied. Run has
// to have returned.
func (f *Firewall) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nft.close()
	f.route.close()
	for _, l := range f.events {
		_ = l.file.Close()
	}
	return nil
}

// Warnings are the last Apply's: what works now, but may not do what is wanted.
func (f *Firewall) Warnings() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.warnings)
}

// Apply makes the kernel have rs, and touches only what differs. It keeps rs,
// whose lists must not change any more. If it fails, the next call goes on where
// this one stopped: what refuses traffic comes first and goes last.
func (f *Firewall) Apply(rs firewall.Ruleset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remember(&rs)
	f.watched.Store(watch(&rs))
	if err := f.checkTables(&rs); err != nil {
		return err
	}
	p, err := f.planRouting(&rs)
	if err != nil {
		return err
	}
	if err := f.change(p.refuse); err != nil {
		return err
	}
	if err := f.applyTable(&rs); err != nil {
		return err
	}
	if err := f.change(p.add); err != nil {
		return err
	}
	if err := f.change(p.remove); err != nil {
		return err
	}
	for i := range f.past {
		if old := &f.past[i]; old.Table != rs.Table {
			if err := f.removeTable(old); err != nil {
				return err
			}
		}
	}
	f.past = f.past[:0]
	f.remember(&rs)
	f.warnings = p.warnings
	return nil
}

// Remove takes from the kernel what Apply put there for rs, also by another
// process, and what this process or Config.Previous knows of. What is not there
// or not ours is left alone.
func (f *Firewall) Remove(rs firewall.Ruleset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched.Store(nil)
	f.remember(&rs)
	if err := f.forgetOthers(); err != nil {
		return err
	}
	refuse, rest, err := f.planRemoval()
	if err != nil {
		return err
	}
	if err := f.change(rest); err != nil {
		return err
	}
	for i := range f.past {
		bridge := bridgeOf(&f.past[i])
		if err := errors.Join(f.removeTable(&f.past[i]), f.removeTable(&bridge)); err != nil {
			return err
		}
	}
	if err := f.change(refuse); err != nil {
		return err
	}
	f.past = nil
	return nil
}

// remember notes that rs may be in the kernel from now on.
func (f *Firewall) remember(rs *firewall.Ruleset) {
	if rs.Table == "" {
		return
	}
	s := skeleton(rs)
	if !slices.ContainsFunc(f.past, s.SameShape) {
		f.past = append(f.past, s)
	}
}

// skeleton is of a ruleset what it takes to find it in the kernel, and does not
// grow with the networks.
func skeleton(rs *firewall.Ruleset) firewall.Ruleset {
	s := firewall.Ruleset{Table: rs.Table, Rules: rs.Rules}
	for _, set := range rs.Sets {
		s.Sets = append(s.Sets, firewall.Set{Name: set.Name, IPv6: set.IPv6})
	}
	for _, c := range rs.Chains {
		s.Chains = append(s.Chains, firewall.Chain{Name: c.Name})
	}
	for _, r := range rs.Routes {
		if r.Table == firewall.RouteMain || r.Destination.Bits() == 0 {
			s.Routes = append(s.Routes, r)
		}
	}
	return s
}
