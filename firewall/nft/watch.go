package nft

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
	"github.com/wirespan/wirespan/mesh"
)

// watcher reports changes that other programs make to what Apply installed.
type watcher struct {
	changed   mesh.Signal
	targets   atomic.Pointer[targets] // nil: nothing is watched
	settings  settings
	lan       lanLinks
	listeners []*listener
}

// targets are the objects of a ruleset that are watched.
type targets struct {
	table      string
	priorities []int          // of rules
	tables     []int          // routing tables, except main
	main       []netip.Prefix // destinations in main
	interfaces []string
}

// listener is a subscription to netlink events. Events that this process causes
// are filtered by the kernel.
type listener struct {
	*netlink.Subscription
	concerns func(*targets, netlink.Message) bool
	routes   bool // it receives events about routes
}

// newWatcher subscribes to events that are not caused by the given sockets. If the kernel refuses that, changes are noticed only when the
// agent applies its ruleset again.
func newWatcher(nl *netlink.Nftables, rt *netlink.RTNetlink, log hclog.Logger) *watcher {
	w := &watcher{changed: mesh.NewSignal()}
	if nl != nil {
		w.subscribe(log, unix.NETLINK_NETFILTER, nl.Port(), concernsTable, netlink.GroupNftables)
	}
	routePort := rt.Port()
	w.subscribe(log, unix.NETLINK_ROUTE, routePort, concernsRouting(),
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, netlink.GroupIPv6Rule)
	w.subscribe(log, unix.NETLINK_ROUTE, routePort, w.concernsSettings, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	return w
}

func (w *watcher) subscribe(log hclog.Logger, protocol int, port uint32, concerns func(*targets, netlink.Message) bool, groups ...int) {
	sub, err := netlink.Subscribe(protocol, port, groups...)
	if err != nil {
		log.Warn("no netlink events: changes by other programs are noticed at the next regular check only", "error", err)
		return
	}
	routes := slices.Contains(groups, unix.RTNLGRP_IPV4_ROUTE)
	w.listeners = append(w.listeners, &listener{sub, concerns, routes})
}

func (w *watcher) close() {
	for _, l := range w.listeners {
		l.Close()
	}
}

// watch replaces what is watched by the objects of rs; nil watches nothing.
func (w *watcher) watch(rs *firewall.Ruleset) {
	if rs == nil {
		w.targets.Store(nil)
		return
	}
	t := &targets{table: rs.Table}
	for _, r := range rs.Rules {
		if !slices.Contains(t.priorities, r.Priority) {
			t.priorities = append(t.priorities, r.Priority)
		}
	}
	for i := range rs.Routes {
		switch r := &rs.Routes[i]; {
		case r.Table == firewall.RouteMain:
			t.main = append(t.main, r.Destination)
		case !slices.Contains(t.tables, r.Table):
			t.tables = append(t.tables, r.Table)
		}
		if name := rs.Routes[i].Interface; name != "" && !slices.Contains(t.interfaces, name) {
			t.interfaces = append(t.interfaces, name)
		}
	}
	w.targets.Store(t)
	lengths := make([]int, len(t.main))
	for i, p := range t.main {
		lengths[i] = p.Bits()
	}
	w.filterRoutes(netlink.RouteFilter{All: w.lan.any(), Tables: t.tables, Lengths: lengths})
}

// filterRoutes makes the kernel keep events about other routes to itself. If it does
// not, they are sorted out here.
func (w *watcher) filterRoutes(f netlink.RouteFilter) {
	for _, l := range w.listeners {
		if l.routes {
			_ = l.SetRoutes(f)
		}
	}
}

// run notifies of changes until ctx is done.
func (w *watcher) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, l := range w.listeners {
		all.Go(func() {
			if l.routes {
				w.lan.follow(true)
				defer w.lan.follow(false)
			}
			l.Listen(ctx, func(m netlink.Message) bool {
				t := w.targets.Load()
				lan := l.routes && w.lan.concerns(m)
				return t != nil && l.concerns(t, m) || lan
			}, func() {
				w.lan.forget()
				w.changed.Notify()
			})
		})
	}
	all.Wait()
	<-ctx.Done()
}

// concernsTable reports whether an nftables event is about the watched table.
func concernsTable(t *targets, m netlink.Message) bool {
	name, ok := netlink.EventTable(m)
	return ok && name == t.table
}

// forget removes the link with an index, which has another name now, and reports whether
// it was there.
func forget(links map[string]netlink.Link, index uint32) bool {
	for name, l := range links {
		if l.Index == index {
			delete(links, name)
			return true
		}
	}
	return false
}

// concernsRouting returns a function that reports whether an rtnetlink event is
// about a watched rule or route, or changes the state or name of a watched interface. It
// remembers the interfaces' states, and must not be called concurrently.
func concernsRouting() func(*targets, netlink.Message) bool {
	links := map[string]netlink.Link{}
	return func(t *targets, m netlink.Message) bool {
		switch m.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			link := netlink.ParseLink(m)
			now, name := netlink.Link{Index: link.Index, Up: link.Up}, link.Name
			if !slices.Contains(t.interfaces, name) {
				return forget(links, now.Index)
			}
			if m.Type == unix.RTM_DELLINK {
				now = netlink.Link{}
			}
			old, ok := links[name]
			links[name] = now
			return !ok || old != now
		case unix.RTM_NEWRULE, unix.RTM_DELRULE:
			r, ok := netlink.ParseRule(m)
			return ok && (slices.Contains(t.priorities, r.Priority) || slices.Contains(t.tables, r.Table))
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			r, ok := netlink.ParseRoute(m)
			return ok && (slices.Contains(t.tables, r.Table) || r.Table == firewall.RouteMain && slices.Contains(t.main, r.Destination))
		}
		return false
	}
}
