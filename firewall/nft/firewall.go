package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// Config is what Open needs. The zero value is valid.
type Config struct {
	Log hclog.Logger // nil: discard
	// Previous is the ruleset that an earlier process applied, if it is known.
	// Apply removes what its own ruleset does not contain of it. A table whose
	// comment names Previous' tunnel is this agent's, even if the tunnel has
	// another name now.
	Previous firewall.Ruleset
}

// Firewall keeps a ruleset in the kernel of one network namespace: that of the
// thread that opened it. Its methods may be called concurrently.
type Firewall struct {
	watcher *watcher

	mu        sync.Mutex // guards all below
	table     table
	routing   routing
	sysctls   sysctls
	installed installed
	warnings  []string
	probed    map[firewall.Feature]bool // whether the kernel has it
}

// Open opens the netlink sockets. It changes nothing in the kernel, which need not have
// nftables.
func Open(c Config) (*Firewall, error) {
	log := c.Log
	if log == nil {
		log = hclog.NewNullLogger()
	}
	nl, err := netlink.OpenNftables()
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		nl = nil
	case err != nil:
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", withAdvice(err))
	}
	rt, err := netlink.OpenRTNetlink()
	if err != nil {
		if nl != nil {
			nl.Close()
		}
		return nil, fmt.Errorf("open a netlink socket for routes: %w", err)
	}
	f := &Firewall{watcher: newWatcher(nl, rt, log)}
	f.table = table{nl: nl, log: log, installed: &f.installed, send: sendBatch}
	f.routing = routing{rt: rt, listRules: rt.Rules, families: addressFamilies(), installed: &f.installed, lan: &f.watcher.lan}
	f.sysctls = sysctls{routing: &f.routing}
	f.installed.add(&c.Previous)
	return f, nil
}

// Close closes the netlink sockets, and changes nothing in the kernel. Run must
// have returned.
func (f *Firewall) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table.nl != nil {
		f.table.nl.Close()
	}
	f.routing.rt.Close()
	f.watcher.close()
	return nil
}

// Apply makes the kernel have exactly rs, and changes only what differs. It keeps
// rs, whose lists must not change any more.
//
// What refuses traffic is added first and removed last, so that packets for the
// mesh are refused, rather than sent in the clear, while Apply is under way. If
// Apply fails, the next call continues where it stopped.
func (f *Firewall) Apply(rs firewall.Ruleset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.installed.add(&rs)
	f.watcher.watch(&rs)
	if err := f.table.checkConflicts(&rs); err != nil {
		return err
	}
	plan, err := f.routing.plan(&rs)
	if err != nil {
		return err
	}
	if err := f.routing.commit(plan.unreachable); err != nil {
		return err
	}
	if err := f.table.apply(&rs); err != nil {
		return err
	}
	if err := f.routing.commit(plan.add, plan.remove); err != nil {
		return err
	}
	if err := f.table.removeAllBut(rs.Table); err != nil {
		return err
	}
	f.installed.reset(&rs)
	f.warnings = plan.warnings
	return nil
}

// Remove removes from the kernel what this or an earlier process applied for rs
// or for Config.Previous, and what this process applied otherwise. It leaves
// alone what is not there or belongs to others.
func (f *Firewall) Remove(rs firewall.Ruleset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.installed.add(&rs)
	f.watcher.watch(nil)
	f.watchSettings(&f.watcher.settings.reverse, nil)
	if err := f.table.forgetOtherAgents(); err != nil {
		return err
	}
	unreachable, rest, err := f.routing.planRemoval()
	if err != nil {
		return err
	}
	if err := f.routing.commit(rest); err != nil {
		return err
	}
	if err := f.table.removeAll(); err != nil {
		return err
	}
	if err := f.routing.commit(unreachable); err != nil {
		return err
	}
	f.installed = nil
	return nil
}

// Warnings returns the warnings of the last successful Apply: settings of this
// host that may keep the ruleset from working as intended.
func (f *Firewall) Warnings() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.warnings)
}

// Changed receives after another program changed what Apply installed, and after
// the tunnel's interface appeared, disappeared, or went up or down. Several
// changes may cause one notification. Only Run notifies.
func (f *Firewall) Changed() <-chan struct{} { return f.watcher.changed }

// Run notifies Changed until ctx is done.
func (f *Firewall) Run(ctx context.Context) error {
	f.watcher.run(ctx)
	return nil
}
