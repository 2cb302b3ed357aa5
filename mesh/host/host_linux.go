package host

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
	"github.com/wirespan/wirespan/mesh"
)

// Config says how the tunnel shows in the kernel's routing.
type Config struct {
	EncryptedMark uint32 // of the packets whose routes count
	RoutingTable  int    // of the tunnel; its default routes don't count
}

// Host observes this machine's links, addresses and default routes. Run signals changes.
type Host struct {
	cfg     Config
	changed mesh.Signal
	watched watched
	pace    time.Duration // between two signals, after a burst of them
}

// New returns a Host. It starts nothing.
func New(c Config) *Host {
	return &Host{cfg: c, changed: mesh.NewSignal(), pace: eventInterval}
}

// Changed receives after a change of links, addresses, default routes, routing rules or
// the hostname, and when the machine was asleep or its clock was set by much. Several
// changes may be signalled once.
func (h *Host) Changed() <-chan struct{} { return h.changed }

// Run listens for changes until ctx is done. If the machine refuses a subscription, the
// agent notices those changes at its next regular check only.
func (h *Host) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { h.followHostname(ctx) })
	all.Go(func() { h.followClock(ctx) })
	events, err := netlink.Subscribe(unix.NETLINK_ROUTE, 0, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, netlink.GroupIPv6Rule)
	if err == nil {
		defer events.Close()
		// A router changes thousands of other routes.
		_ = events.SetRoutes(netlink.RouteFilter{Lengths: []int{0}})
		h.changed.Notify() // there may have been changes before
		changes := pacer{signal: h.changed, interval: h.pace}
		events.Listen(ctx, h.watched.relevant, changes.notify)
	}
	<-ctx.Done()
	all.Wait()
	return nil
}

// Links returns the host's interfaces in ascending name order.
func (h *Host) Links() ([]mesh.Link, error) {
	h.watched.mu.Lock()
	defer h.watched.mu.Unlock()
	rt, err := openNetlink()
	if err != nil {
		return nil, err
	}
	defer rt.Close()
	all, err := rt.Links()
	if err != nil {
		return nil, err
	}
	routes, err := h.defaultRoutes(rt, all)
	if err != nil {
		return nil, err
	}
	addrs, err := linkAddresses(rt)
	if err != nil {
		return nil, err
	}
	h.watched.set(all, addrs, &routes)
	links := make([]mesh.Link, 0, len(all))
	for _, l := range all {
		own := cmp.Or(addrs[l.Index], &addresses{})
		links = append(links, mesh.Link{
			Name: l.Name, Kind: l.Kind, Up: linkUp(l),
			Loopback:     l.Flags&unix.IFF_LOOPBACK != 0,
			DefaultRoute: routes.leaveBy(l.Index),
			MTU:          l.MTU,
			Addresses:    own.usable(),
			Deprecated:   own.deprecated,
		})
	}
	sort.Slice(links, func(i, j int) bool { return links[i].Name < links[j].Name })
	return links, nil
}

func openNetlink() (*netlink.RTNetlink, error) {
	rt, err := netlink.OpenRTNetlink()
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return rt, nil
}

// linkUp reports whether a link works: hardware also takes a carrier.
func linkUp(l netlink.Link) bool {
	hardware := l.Type == unix.ARPHRD_ETHER && l.Kind == ""
	return l.Up && (l.OperState == netlink.OperUp || l.OperState == netlink.OperUnknown) &&
		(!hardware || l.Flags&unix.IFF_LOWER_UP != 0)
}

// OperatingSystem returns the operating system as "NAME (VERSION)", from os-release(5).
func OperatingSystem() string {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		name := osRelease(f)
		_ = f.Close()
		if name != "" {
			return name
		}
	}
	return "Linux"
}

// osRelease returns the name and version of an os-release(5) file. It returns the name
// alone if there is no version, and an empty string if there is no name.
func osRelease(r io.Reader) string {
	vars := map[string]string{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), "="); ok {
			vars[k] = strings.Trim(v, `"'`)
		}
	}
	if name, version := vars["NAME"], vars["VERSION_ID"]; name == "" || version == "" {
		return name
	}
	return vars["NAME"] + " (" + vars["VERSION_ID"] + ")"
}
