package host

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
	"github.com/wirespan/wirespan/mesh"
)

// watched is what Links found last, as far as events are compared with it. Links of
// containers come and go all the time. One that has neither an address that counts nor
// a default route decides nothing, unless it is a VRF or there is no default route.
type watched struct {
	mu    sync.Mutex
	links map[uint32]linkState // those that count; nil: every change counts
}

// linkState is what a change of a link is told by.
type linkState struct {
	name, kind string
	set, up    bool // whether it is set up, and whether it works
	mtu        int  // 0 if it does not count: no default route leaves by the link
	master     uint32
}

func stateOf(l netlink.Link) linkState {
	return linkState{l.Name, l.Kind, l.Up, linkUp(l), l.MTU, l.Master}
}

// set notes which links count. The caller has the lock since before it read them, so
// that no event is compared with links that are older than the event.
func (w *watched) set(all []netlink.Link, addrs map[uint32]*addresses, routes *defaults) {
	w.links = nil
	if len(routes.v4.Hops)+len(routes.v6.Hops) == 0 {
		return // the smallest MTU of all links counts
	}
	w.links = map[uint32]linkState{}
	for _, l := range all {
		leaves := routes.leaveBy(l.Index)
		if addrs[l.Index].any() || leaves || l.Kind == netlink.KindVRF {
			state := stateOf(l)
			if !leaves {
				state.mtu = 0
			}
			w.links[l.Index] = state
		}
	}
}

// relevant reports whether an event may change what Links or Underlay return.
func (w *watched) relevant(m netlink.Message) bool {
	switch m.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, ok := netlink.ParseRoute(m)
		return ok && r.Destination.Bits() == 0 && r.Type == unix.RTN_UNICAST
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return w.relevantAddress(m)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.relevantLink(m)
	}
	return true
}

// relevantAddress reports whether an event is about an address that peers can use, or
// takes one of any kind from a link that counts: the tunnel has one of link scope.
func (w *watched) relevantAddress(m netlink.Message) bool {
	a, ok := netlink.ParseAddress(m)
	if !ok || a.Scope < unix.RT_SCOPE_LINK {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, counts := w.links[a.Link]
	return m.Type == unix.RTM_DELADDR && (counts || w.links == nil)
}

func (w *watched) relevantLink(m netlink.Message) bool {
	if len(m.Body) > 0 && m.Body[0] != unix.AF_UNSPEC { // of a bridge's port
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := netlink.ParseLink(m)
	old, counts := w.links[now.Index]
	switch {
	case w.links == nil:
		return true
	case !counts:
		return now.Kind == netlink.KindVRF
	case m.Type == unix.RTM_DELLINK:
		return true
	}
	state := stateOf(now)
	if old.mtu == 0 {
		state.mtu = 0
	}
	return state != old
}

const (
	// Up to eventBurst changes are signalled at once. After that, one is per
	// eventInterval.
	eventBurst    = 5
	eventInterval = time.Second
)

// pacer signals changes. So many that come one after the other are signalled together.
type pacer struct {
	signal   mesh.Signal
	interval time.Duration

	mu    sync.Mutex // guards what follows
	paid  time.Time  // when there may be a whole burst again
	timer *time.Timer
}

func (p *pacer) notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		return
	}
	now := time.Now()
	if p.paid.Before(now) {
		p.paid = now
	}
	p.paid = p.paid.Add(p.interval)
	wait := p.paid.Sub(now) - eventBurst*p.interval
	if wait <= 0 {
		p.signal.Notify()
		return
	}
	p.timer = time.AfterFunc(wait, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.timer = nil
		p.signal.Notify()
	})
}
