package bind

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// settleTime is the least time between two changes of routes that count.
const settleTime = time.Second

// routes watches the host's routes, addresses and links, and looks routes up. A nil
// routes accepts every source.
type routes struct {
	changes *nl.NetlinkSocket
	lookups *netlink.Handle
	done    chan struct{}
	stopped sync.WaitGroup
}

// watchRoutes adds one to generation whenever routes, addresses or links change,
// until close.
func watchRoutes(generation *atomic.Uint32) (*routes, error) {
	lookups, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	changes, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_LINK) // links: for their MTU
	if err != nil {
		lookups.Close()
		return nil, fmt.Errorf("subscribe to route changes: %w", err)
	}
	r := &routes{changes: changes, lookups: lookups, done: make(chan struct{})}
	generation.Add(1) // there may have been changes before this subscription
	r.stopped.Go(func() { r.run(generation) })
	return r, nil
}

func (r *routes) run(generation *atomic.Uint32) {
	for {
		// An error counts as a change: changes may have been missed, or close was
		// called.
		_, _, _ = r.changes.Receive()
		generation.Add(1)
		select {
		case <-r.done:
			return
		case <-time.After(settleTime):
		}
	}
}

func (r *routes) close() {
	if r == nil {
		return
	}
	close(r.done)
	r.changes.Close()
	r.stopped.Wait()
	r.lookups.Close()
}

// leavesBy reports whether a packet from src to dst would leave by the
// interface with that index.
func (r *routes) leavesBy(ifindex int, src, dst netip.Addr, mark uint32) bool {
	if r == nil {
		return true
	}
	found, err := r.lookups.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{
		SrcAddr: src.AsSlice(), Mark: mark,
	})
	return err == nil && len(found) > 0 && found[0].LinkIndex == ifindex
}
