package nft

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// Multicast groups of netlink.
const (
	groupNftables = 7 // NFNLGRP_NFTABLES
	groupRule6    = 19
)

// watched is what Run looks for. Only Run uses links.
type watched struct {
	table      string
	priorities []int
	tables     []int
	main       []routeKey
	interfaces []string
}

func watch(rs *firewall.Ruleset) *watched {
	w := &watched{table: rs.Table}
	for _, r := range rs.Rules {
		if !slices.Contains(w.priorities, r.Priority) {
			w.priorities = append(w.priorities, r.Priority)
		}
	}
	for i := range rs.Routes {
		switch r := &rs.Routes[i]; {
		case r.Table == firewall.RouteMain:
			w.main = append(w.main, desired(r, 0).routeKey)
		case !slices.Contains(w.tables, r.Table):
			w.tables = append(w.tables, r.Table)
		}
		if name := rs.Routes[i].Interface; name != "" && !slices.Contains(w.interfaces, name) {
			w.interfaces = append(w.interfaces, name)
		}
	}
	return w
}

// listener is a socket that hears of changes by others than us.
type listener struct {
	file     *os.File
	relevant func(*Firewall, message) bool
	links    map[string]link // as last heard
}

// listen opens the listeners. A box that refuses them is served by the agent's
// regular tick.
func (f *Firewall) listen() {
	for _, l := range []struct {
		protocol int
		own      *socket
		groups   []int
		relevant func(*listener, *watched, message) bool
	}{
		{unix.NETLINK_NETFILTER, f.nft, []int{groupNftables}, (*listener).ofTable},
		{unix.NETLINK_ROUTE, f.route, []int{
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, groupRule6,
		}, (*listener).ofRouting},
	} {
		file, err := subscribe(l.protocol, l.own.port, l.groups)
		if err != nil {
			f.log.Warn("changes by others will be seen by the regular tick only", "error", err)
			continue
		}
		one := &listener{file: file, links: map[string]link{}}
		one.relevant = func(f *Firewall, m message) bool {
			w := f.watched.Load()
			return w != nil && l.relevant(one, w, m)
		}
		f.events = append(f.events, one)
	}
}

// subscribe opens a socket that gets what the groups tell, unless it was caused
// by the socket whose address is own.
func subscribe(protocol int, own uint32, groups []int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "netlink")
	if err := exclude(fd, own); err != nil {
		_ = file.Close()
		return nil, err
	}
	// Somebody's large transaction should not look like a loss of ours.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, g := range groups {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// exclude makes the kernel drop messages that the socket with this address has
// caused: all of a datagram have the same cause.
func exclude(fd int, own uint32) error {
	const portAt = 12
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: portAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: be32(host(own)), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 30},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// Changed receives after others touched what Apply put into the kernel, or the
// tunnel's interface came, went, or changed between up and down; coalesced.
func (f *Firewall) Changed() <-chan struct{} { return f.changed }

// Run feeds Changed until ctx is done.
func (f *Firewall) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		for _, l := range f.events {
			_ = l.file.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	var all sync.WaitGroup
	for _, l := range f.events {
		all.Go(func() { l.run(f) })
	}
	all.Wait()
	<-ctx.Done()
	return nil
}

func (l *listener) run(f *Firewall) {
	buf := make([]byte, 1<<16)
	for {
		n, err := l.file.Read(buf)
		relevant := errors.Is(err, unix.ENOBUFS) // something got lost
		if err != nil && !relevant {
			return
		}
		for m := range messages(buf[:max(n, 0)]) {
			relevant = l.relevant(f, m) || relevant
		}
		if relevant {
			select {
			case f.changed <- struct{}{}:
			default:
			}
		}
	}
}

// ofTable: the table's name is the first attribute of whatever is in a table.
func (l *listener) ofTable(w *watched, m message) bool {
	if len(m.body) < 4 || m.body[0] != unix.NFPROTO_INET || m.typ == nftType(unix.NFT_MSG_NEWGEN) {
		return false
	}
	for typ, v := range attributes(nftBody(m)) {
		if typ == unix.NFTA_TABLE_NAME {
			return text(v) == w.table
		}
	}
	return false
}

func (l *listener) ofRouting(w *watched, m message) bool {
	switch m.typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		now, name := parseLink(m)
		if !slices.Contains(w.interfaces, name) {
			return false
		}
		if m.typ == unix.RTM_DELLINK {
			now = link{}
		}
		old, known := l.links[name]
		l.links[name] = now
		return !known || old != now
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		r, ok := parseRule(m)
		return ok && (slices.Contains(w.priorities, r.Priority) || slices.Contains(w.tables, r.Table))
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, ok := parseRoute(m)
		return ok && (slices.Contains(w.tables, r.table) || slices.Contains(w.main, r.routeKey))
	}
	return false
}
