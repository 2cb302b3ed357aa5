package bind

import (
	"errors"
	"fmt"
	"net"
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
	lookups *netlink.Handle
	done    chan struct{}
	stopped sync.WaitGroup

	mu      sync.Mutex        // guards changes
	changes *nl.NetlinkSocket // nil while there is no subscription
}

// watchRoutes adds one to generation whenever routes, addresses or links change,
// until close.
func watchRoutes(generation *atomic.Uint32) (*routes, error) {
	lookups, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	r := &routes{lookups: lookups, done: make(chan struct{})}
	if _, err := r.subscribed(); err != nil {
		lookups.Close()
		return nil, fmt.Errorf("subscribe to route changes: %w", err)
	}
	generation.Add(1) // there may have been changes before this subscription
	r.stopped.Go(func() { r.run(generation) })
	return r, nil
}

// run counts an error as a change: changes may have been missed, or close was called. A
// socket that fails is replaced.
func (r *routes) run(generation *atomic.Uint32) {
	for {
		if changes, err := r.subscribed(); err == nil {
			if _, _, err := changes.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
				r.unsubscribe()
				_, _ = r.subscribed() // before the sources are looked up again
			}
		}
		generation.Add(1)
		select {
		case <-r.done:
			return
		case <-time.After(settleTime):
		}
	}
}

// subscribed returns the socket that receives changes. It opens one if there is none,
// until close.
func (r *routes) subscribed() (*nl.NetlinkSocket, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.done:
		return nil, net.ErrClosed
	default:
	}
	if r.changes != nil {
		return r.changes, nil
	}
	var err error
	r.changes, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_LINK) // links: for their MTU
	if err != nil {
		r.changes = nil
	}
	return r.changes, err
}

func (r *routes) unsubscribe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes != nil {
		r.changes.Close()
		r.changes = nil
	}
}

func (r *routes) close() {
	if r == nil {
		return
	}
	close(r.done)
	r.unsubscribe()
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
