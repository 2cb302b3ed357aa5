package bind

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// settleTime is the least time between two changes of routes that count.
const settleTime = time.Second

// routes watches the host's routes, addresses and links, and looks routes up. A nil
// routes accepts every source.
type routes struct {
	changes *netlink.Subscription
	stop    context.CancelFunc
	stopped sync.WaitGroup

	mu      sync.Mutex // guards lookups
	lookups *netlink.RTNetlink
}

// watchRoutes adds one to generation whenever routes, addresses or links change,
// until close.
func watchRoutes(generation *atomic.Uint32) (*routes, error) {
	lookups, err := netlink.OpenRTNetlink()
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	changes, err := netlink.Subscribe(unix.NETLINK_ROUTE, 0, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_LINK) // links: for their MTU
	if err != nil {
		lookups.Close()
		return nil, fmt.Errorf("subscribe to route changes: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &routes{changes: changes, stop: stop, lookups: lookups}
	generation.Add(1) // there may have been changes before this subscription
	r.stopped.Go(func() { r.run(ctx, generation) })
	return r, nil
}

func (r *routes) run(ctx context.Context, generation *atomic.Uint32) {
	r.changes.Listen(ctx, func(netlink.Message) bool { return true }, func() {
		generation.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(settleTime):
		}
	})
}

func (r *routes) close() {
	if r == nil {
		return
	}
	r.stop()
	r.stopped.Wait()
	r.changes.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookups.Close()
}

// leavesBy reports whether a packet from src to dst would leave by the
// interface with that index.
func (r *routes) leavesBy(ifindex int, src, dst netip.Addr, mark uint32) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	found, err := r.lookups.LookupRoute(netlink.RouteQuery{Destination: dst, Source: src, Mark: mark})
	return err == nil && int(found.Interface) == ifindex
}
